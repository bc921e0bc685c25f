/** A session against a model of a server, with a connection that is cut at any moment. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { BusError } from '../../src/protocol/errors.ts'
import type {
  ClientFrame,
  Event,
  EventIn,
  Published,
  Refused,
  ServerFrame,
} from '../../src/protocol/types.ts'
import { Session, type Effect } from '../../src/state/session.ts'
import { event } from '../events.ts'
import { welcome } from '../frames.ts'

const WINDOW = 8

/** Chance that can be repeated: mulberry32. */
function chance(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

interface Subscribed {
  sid: string
  position: number
  acked: number
}

/** One log and one connection, by the rules of docs/gateway.md. */
class ModelServer {
  readonly log: Event[] = []
  readonly #seqs = new Map<string, number>()
  readonly #random: () => number
  #subscribed = new Map<string, Subscribed>()

  constructor(random: () => number) {
    this.#random = random
  }

  append(id: string): number {
    const known = this.#seqs.get(id)
    if (known !== undefined) return known
    const seq = this.log.length + 1
    this.log.push(event(seq, { id }))
    this.#seqs.set(id, seq)
    return seq
  }

  cut(): void {
    this.#subscribed.clear()
  }

  answer(frame: ClientFrame): ServerFrame[] {
    switch (frame.op) {
      case 'hello':
        return [welcome({ window: WINDOW })]
      case 'sub': {
        const position = frame.after == null ? this.log.length : seqOf(frame.after)
        this.#subscribed.set(frame.sid, { sid: frame.sid, position, acked: position })
        return [{ op: 'ok', id: frame.id, pos: `e.${position}` }]
      }
      case 'ack': {
        const subscribed = this.#subscribed.get(frame.sid)
        assert(subscribed && frame.seq <= subscribed.position, 'an ack of more than was sent')
        subscribed.acked = Math.max(subscribed.acked, frame.seq)
        return []
      }
      case 'pub':
        return [{ op: 'ok', id: frame.id, results: frame.events.map((each) => this.#take(each)) }]
      default:
        throw new Error(`not expected: ${frame.op}`)
    }
  }

  #take(given: EventIn): Published | Refused {
    if (this.#random() < 0.1) {
      return { id: null, error: { code: 'overloaded', message: 'full', retry_after_ms: 50 } }
    }
    return { id: given.id ?? '', seq: this.append(given.id ?? '') }
  }

  /** The next `ev` of any subscription that has room. */
  push(): ServerFrame | null {
    for (const subscribed of this.#subscribed.values()) {
      const room = WINDOW - (subscribed.position - subscribed.acked)
      const events = this.log.slice(subscribed.position, subscribed.position + Math.min(room, 3))
      if (events.length === 0) continue
      subscribed.position += events.length
      return { op: 'ev', sid: subscribed.sid, events, cursor: `e.${subscribed.position}` }
    }
    return null
  }
}

const seqOf = (cursor: string | number): number => Number(String(cursor).split('.').at(-1))

class World {
  readonly random: () => number
  readonly server: ModelServer
  readonly session = new Session('secret')
  readonly handled: number[] = []
  readonly results = new Map<number, Published>()
  now = 0
  published = 0
  #connected = false
  #toServer: ClientFrame[] = []
  #toClient: ServerFrame[] = []
  #inHand: { sid: string; seqs: number[] } | null = null

  constructor(seed: number) {
    this.random = chance(seed)
    this.server = new ModelServer(this.random)
    this.session.subscribe({ patterns: ['*'], after: 0, window: WINDOW }, 0)
  }

  do(effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.do === 'send') this.#toServer.push(effect.frame)
      if (effect.do === 'settle') this.#settle(effect.ticket, effect.result)
      if (effect.do === 'hand') {
        assert.equal(this.#inHand, null, 'one batch at a time')
        const seqs = effect.batch.events.map(({ seq }) => seq ?? 0)
        this.#inHand = { sid: effect.sid, seqs }
      }
    }
  }

  #settle(ticket: number, result: Published | BusError): void {
    assert(!(result instanceof BusError), 'a full server is no refusal')
    assert(!this.results.has(ticket), 'settled once')
    this.results.set(ticket, result)
  }

  publish(): void {
    this.published += 1
    const id = `mine-${this.published}`
    const event = { topic: 'a', id }
    this.session.publish({ ticket: this.published, event, level: null, bytes: 20 })
    this.do(this.session.tick(this.now))
  }

  cut(): void {
    this.#connected = false
    this.#toServer = []
    this.#toClient = []
    this.server.cut()
    this.session.lost()
  }

  connect(): void {
    if (this.#connected) return
    this.#connected = true
    this.session.opening(this.now)
    this.do(this.session.opened(this.now))
  }

  toServer(): void {
    const frame = this.#toServer.shift()
    if (frame !== undefined) this.#toClient.push(...this.server.answer(frame))
  }

  toClient(): void {
    const frame = this.#toClient.shift() ?? this.server.push()
    if (frame !== null) this.do(this.session.receive(frame, this.now))
  }

  finishHandler(): void {
    const inHand = this.#inHand
    if (inHand === null) return
    this.#inHand = null
    this.handled.push(...inHand.seqs)
    this.do(this.session.handled(inHand.sid, { ok: true, back: new Map() }, this.now))
  }

  wait(): void {
    this.now += Math.floor(this.random() * 200)
    this.do(this.session.tick(this.now))
  }

  step(): void {
    const at = this.random()
    if (at < 0.04) this.cut()
    else if (at < 0.12) this.connect()
    else if (at < 0.2) this.publish()
    else if (at < 0.28) this.server.append(`other-${this.server.log.length}-${at}`)
    else if (at < 0.36) this.wait()
    else if (at < 0.6) this.toServer()
    else if (at < 0.84) this.toClient()
    else this.finishHandler()
  }

  settleDown(): void {
    for (let round = 0; round < 5_000; round += 1) {
      this.connect()
      this.toServer()
      this.toClient()
      this.finishHandler()
      if (round % 5 === 0) this.wait()
    }
  }
}

test('whatever is cut whenever: each event is handled once and in order, each publish stored once', () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const world = new World(seed)
    for (let step = 0; step < 600; step += 1) world.step()
    world.settleDown()
    const all = world.server.log.map(({ seq }) => seq)
    assert.deepEqual(world.handled, all, `seed ${seed}: every event, once, in order`)
    assert.equal(world.results.size, world.published, `seed ${seed}: every publish is answered`)
    for (const [ticket, result] of world.results) {
      assert.equal(world.server.log[(result.seq ?? 0) - 1]?.id, `mine-${ticket}`, `seed ${seed}`)
    }
    assert.equal(world.session.unanswered, 0)
  }
})
