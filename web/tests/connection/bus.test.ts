import assert from 'node:assert/strict'
import test from 'node:test'
import { Bus, BusError, type Link, type Options } from '../../src/connection/index.ts'
import type { ClientFrame, ServerFrame } from '../../src/protocol/types.ts'
import { events } from '../events.ts'
import { welcome } from '../frames.ts'

/** The server's end of a socket, in this process. */
class Wire {
  static all: Wire[] = []
  readonly sent: ClientFrame[] = []
  closed = false
  onopen: (() => void) | null = null
  onmessage: ((message: { data: string }) => void) | null = null
  onclose: ((close: { code: number; reason: string }) => void) | null = null

  constructor() {
    Wire.all.push(this)
  }

  static get last(): Wire {
    const wire = Wire.all.at(-1)
    assert(wire)
    return wire
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text))
  }

  close(): void {
    this.closed = true
  }

  say(frame: ServerFrame): void {
    this.onmessage?.({ data: JSON.stringify(frame) })
  }

  accept(): void {
    this.onopen?.()
    this.say(welcome())
  }
}

/** A clock that is moved by hand. */
class Hand {
  time = 1_000_000
  #timers: { readonly at: number; readonly act: () => void }[] = []
  #passed = 0

  now = (): number => this.time

  after = (ms: number, act: () => void): (() => void) => {
    const timer = { at: this.#passed + ms, act }
    this.#timers.push(timer)
    return () => void (this.#timers = this.#timers.filter((one) => one !== timer))
  }

  /** Lets *ms* pass, timer by timer; the clock on the wall may be set between. */
  pass(ms: number): void {
    const end = this.#passed + ms
    for (let next = this.#next(end); next !== undefined; next = this.#next(end)) {
      this.#move(next.at)
      next.act()
    }
    this.#move(end)
  }

  #next(end: number): { readonly at: number; readonly act: () => void } | undefined {
    const next = this.#timers.toSorted((a, b) => a.at - b.at).find(({ at }) => at <= end)
    this.#timers = this.#timers.filter((one) => one !== next)
    return next
  }

  #move(to: number): void {
    this.time += to - this.#passed
    this.#passed = to
  }
}

function make(options: Options = {}): { bus: Bus; clock: Hand; links: string[] } {
  Wire.all = []
  const clock = new Hand()
  const url = 'http://127.0.0.1:1'
  const Socket = Wire as unknown as typeof WebSocket
  const bus = new Bus({ url, token: 't', clock, random: () => 1, WebSocket: Socket, ...options })
  const links: string[] = []
  bus.onLink((link: Link) => links.push(link.is))
  return { bus, clock, links }
}

test('a silent connection is given up, and the next one is tried after a while', () => {
  const { clock, links } = make()
  Wire.last.accept()
  clock.pass(39_999)
  assert.deepEqual(links, ['live'])
  clock.pass(1)
  assert.deepEqual(links, ['live', 'waiting'])
  assert(Wire.last.closed)
  clock.pass(300)
  assert.equal(Wire.all.length, 2)
  assert.deepEqual(links, ['live', 'waiting', 'connecting'])
})

test('a clock that is set back holds nothing up', () => {
  const { clock, links } = make()
  Wire.last.accept()
  clock.time -= 3_600_000
  clock.pass(40_000)
  assert.deepEqual(links, ['live', 'waiting'])
  clock.time -= 3_600_000
  clock.pass(300)
  assert.equal(links.at(-1), 'connecting')
})

test('who hurries need not wait, and nobody hurries a closed client', () => {
  const { bus, links } = make()
  Wire.last.onclose?.({ code: 1006, reason: '' })
  assert.equal(links.at(-1), 'waiting')
  bus.hurry()
  assert.equal(Wire.all.length, 2)
  bus.close()
  bus.hurry()
  assert.equal(Wire.all.length, 2)
  assert(Wire.last.closed)
})

test('what a closed client owed is told: publishes, loops, the token', async () => {
  const { bus } = make()
  const publish = bus.publish('a', 1)
  const refresh = bus.refresh('u')
  const loop = bus.follow(['*']).next()
  bus.close()
  const isClosed = (error: unknown): boolean => error instanceof BusError && error.code === 'closed'
  await assert.rejects(publish, isClosed)
  await assert.rejects(refresh, isClosed)
  assert.equal((await loop).done, true)
  await assert.rejects(bus.publish('a', 2), isClosed)
  assert.throws(() => bus.subscribe(['*'], { onEvents: () => {} }), isClosed)
})

test('a handler may subscribe, publish and leave from within', async () => {
  const { bus } = make()
  Wire.last.accept()
  const seen: number[] = []
  const end = bus.subscribe(['a'], {
    onEvents: (batch) => {
      seen.push(batch.length)
      void bus.publish('b', null, { id: 'x' }).catch(() => {})
      bus.subscribe(['b'], { onEvents: () => {} })
      end()
    },
  })
  Wire.last.say({ op: 'ok', id: 1, pos: 'e.1' })
  Wire.last.say({ op: 'ev', sid: 'sub-1', events: events(2, 3), cursor: 'e.3' })
  Wire.last.say({ op: 'ev', sid: 'sub-1', events: events(4, 5), cursor: 'e.5' })
  await Promise.resolve()
  assert.deepEqual(seen, [2])
  const ops = Wire.last.sent.map(({ op }) => op)
  assert.deepEqual(ops, ['hello', 'sub', 'sub', 'pub', 'unsub'])
  bus.close()
})

test('what is published in one breath goes in one frame', async () => {
  const { bus } = make()
  Wire.last.accept()
  const results = Promise.all([1, 2, 3].map((n) => bus.publish('a', n)))
  await Promise.resolve()
  const [pub, more] = Wire.last.sent.slice(1)
  assert(pub?.op === 'pub' && more === undefined)
  const answers = pub.events.map(({ id }, at) => ({ id: id ?? '', seq: at + 1 }))
  Wire.last.say({ op: 'ok', id: pub.id, results: answers })
  assert.deepEqual((await results).map(({ seq }) => seq), [1, 2, 3])
  assert.equal(new Set(pub.events.map(({ id }) => id)).size, 3, 'each has an id of its own')
  bus.close()
})
