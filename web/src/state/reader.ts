/**
 * One subscription, without a socket: where it stands, and what waits for its handler.
 *
 * A plain one goes on after the last cursor it received; what had arrived stays in line over
 * a lost connection. It asks again only when that line is empty, so no more than one window
 * ever waits here. A durable one belongs to the server: what was in hand comes again, so a
 * lost connection empties the line.
 */
import { errorFrom, retryAfter, type BusError } from '../protocol/errors.ts'
import type {
  Ack,
  Ended,
  Ev,
  Event,
  Gap,
  Lag,
  Live,
  Nack,
  Ok,
  Pos,
  Reset,
  StartWord,
  Sub,
} from '../protocol/types.ts'

/** What to subscribe to, and from where. */
export interface Ask {
  readonly patterns: readonly string[]
  /** `now` if nothing is said. */
  readonly start?: StartWord
  /** A cursor or a seq to go on after; counts before `start`. */
  readonly after?: string | number
  /** Hold this durable subscription, alone. */
  readonly durable?: string
  /** Share this durable subscription with the others of the group. */
  readonly group?: string
  readonly member?: string
  /** Take what the token allows of the patterns, in place of `forbidden`. */
  readonly narrow?: boolean
  /** Most events that wait here, sent and not handled; 1,000 if absent. */
  readonly window?: number
}

export interface Batch {
  readonly events: readonly Event[]
  /** The position after them. */
  readonly cursor: string
  /** How often each has been tried, the first time included. */
  readonly attempts: readonly number[]
}

/** What a subscription says that is no event. */
export type Notice =
  | { readonly is: 'opened'; readonly patterns: readonly string[]; readonly cursor: string | null }
  /** Somebody else holds it, or the server has no room: it asks again until it is granted. */
  | { readonly is: 'waiting'; readonly error: BusError }
  /** The server does not allow it: it is over. */
  | { readonly is: 'refused'; readonly error: BusError }
  /** Its handler threw: it is over, and what it was given counts as not read. */
  | { readonly is: 'failed'; readonly error: unknown }
  /** Events from *from* to *to* were trimmed. */
  | { readonly is: 'gap'; readonly from: number; readonly to: number; readonly cursor: string }
  /** The log was replaced: forget what came, what follows is another history. */
  | { readonly is: 'reset'; readonly message: string; readonly cursor: string }
  /** So many ephemeral events were dropped. */
  | { readonly is: 'dropped'; readonly count: number }
  /** Caught up; what follows is live. */
  | { readonly is: 'live' }

/** How a handler ended: well, but for events given back (seq to delay in ms), or by throwing. */
export type Outcome =
  | { readonly ok: true; readonly back: ReadonlyMap<number, number | null> }
  | { readonly ok: false; readonly error: unknown }

export type Step =
  | { readonly do: 'send'; readonly frame: Sub | Ack | Nack }
  | { readonly do: 'hand'; readonly sid: string; readonly batch: Batch }
  | { readonly do: 'tell'; readonly sid: string; readonly notice: Notice }

type Push = Ev | Pos | Gap | Reset | Lag | Live | Ended

export const WINDOW = 1_000
const ACK_MS = 100
const EPHEMERAL = 1_000
const REASON_CHARS = 200

export class Reader {
  readonly sid: string
  readonly #ask: Ask
  readonly #held: boolean
  #cursor: string | null = null
  #most = WINDOW
  /** The request that is not answered yet. */
  #request: number | null = null
  #open = false
  #opened = false
  #waits = false
  #over = false
  #askAt = Infinity
  #line: (Batch | Notice)[] = []
  #busy: Batch | null = null
  #unacked = 0
  #ackSeq: number | null = null
  #ackAt = Infinity

  constructor(sid: string, ask: Ask) {
    this.sid = sid
    this.#ask = ask
    this.#held = ask.durable !== undefined || ask.group !== undefined
  }

  /** Nothing more comes, and its handler has been told. */
  get over(): boolean {
    return this.#over && this.#line.length === 0 && this.#busy === null
  }

  /** Whether the server knows of it. */
  get known(): boolean {
    return this.#open || this.#request !== null
  }

  get deadline(): number {
    return Math.min(this.#ackAt, this.#mayAsk ? this.#askAt : Infinity)
  }

  get #mayAsk(): boolean {
    return !this.#over && !this.known && this.#line.length === 0 && this.#busy === null
  }

  isAnsweredBy(id: number | null): boolean {
    return id !== null && this.#request === id
  }

  /** A connection is there, that grants windows up to *window*. */
  connected(window: number, now: number): void {
    this.#most = window
    this.#askAt = now
  }

  lost(): void {
    this.#request = null
    this.#askAt = Infinity
    this.#leave()
  }

  /** The server brings nothing more, and forgets what is in hand of a durable one. */
  #leave(): void {
    this.#open = false
    this.#forgetAcks()
    if (this.#held) this.#line = this.#line.filter((item) => !isBatch(item))
  }

  /** Does what is due; call it after everything else, and at `deadline`. */
  tick(nextId: () => number, now: number): Step[] {
    const steps: Step[] = []
    if (now >= this.#ackAt) steps.push(...this.#acknowledge())
    if (!this.#mayAsk || now < this.#askAt) return steps
    this.#request = nextId()
    this.#askAt = Infinity
    return [...steps, { do: 'send', frame: this.#frame(this.#request) }]
  }

  #frame(id: number): Sub {
    const { patterns, start, after, durable, group, member, narrow } = this.#ask
    const place = this.#held ? null : (this.#cursor ?? after ?? null)
    const from = place === null ? (start ?? (this.#held ? null : 'now')) : null
    return {
      op: 'sub',
      id,
      sid: this.sid,
      patterns,
      window: this.#window,
      ...(place !== null && { after: place }),
      ...(from !== null && { from }),
      ...(narrow === true && { narrow }),
      ...(durable !== undefined && { durable }),
      ...(group !== undefined && { group }),
      ...(member !== undefined && { member }),
    }
  }

  get #window(): number {
    return Math.min(this.#ask.window ?? WINDOW, this.#most)
  }

  granted(frame: Ok): Step[] {
    this.#request = null
    this.#open = true
    this.#waits = false
    this.#cursor ??= frame.pos ?? null
    if (this.#opened) return []
    this.#opened = true
    const patterns = frame.effective ?? this.#ask.patterns
    return this.#put({ is: 'opened', patterns, cursor: frame.pos ?? null })
  }

  refused(error: BusError, now: number): Step[] {
    this.#request = null
    const delay = retryAfter(error)
    if (delay !== null) {
      this.#askAt = now + delay
      if (this.#waits) return []
      this.#waits = true
      return this.#put({ is: 'waiting', error })
    }
    this.#over = true
    return this.#put({ is: 'refused', error })
  }

  receive(frame: Push, now: number): Step[] {
    if (!this.#open) return []
    if ('cursor' in frame) this.#cursor = frame.cursor
    switch (frame.op) {
      case 'ev':
        return this.#events(frame)
      case 'gap':
        return this.#put({ is: 'gap', from: frame.from, to: frame.to, cursor: frame.cursor })
      case 'reset':
        return this.#put({ is: 'reset', message: frame.message, cursor: frame.cursor })
      case 'lag':
        return this.#put({ is: 'dropped', count: frame.dropped })
      case 'live':
        return this.#put({ is: 'live' })
      case 'ended':
        this.#request = null
        this.#leave()
        return this.refused(errorFrom(frame), now)
      case 'pos':
        return []
    }
  }

  #events(frame: Ev): Step[] {
    const attempts = frame.attempts ?? frame.events.map(() => 1)
    const { events, cursor } = frame
    const steps = this.#put({ events, cursor, attempts })
    this.#dropEphemeral()
    return steps
  }

  /** No window holds ephemeral events back: of those in line the newest stay. */
  #dropEphemeral(): void {
    const waiting = this.#line.filter(isBatch).filter(isEphemeral)
    let over = waiting.reduce((sum, batch) => sum + batch.events.length, 0) - EPHEMERAL
    for (const batch of waiting) {
      if (over <= 0) break
      over -= batch.events.length
      this.#line[this.#line.indexOf(batch)] = { is: 'dropped', count: batch.events.length }
    }
    this.#line = merged(this.#line)
  }

  /** The handler has ended with what it was given last. */
  handled(outcome: Outcome, now: number): Step[] {
    const batch = this.#busy
    if (batch === null) return []
    this.#busy = null
    if (!outcome.ok && !this.#held && !this.#over) {
      this.#over = true
      this.#line = [{ is: 'failed', error: outcome.error }]
      return this.#step()
    }
    // Open: then this connection brought it, since it is asked only when none is in hand.
    const steps = this.#open ? this.#settle(batch, outcome, now) : []
    return [...steps, ...this.#step()]
  }

  #settle(batch: Batch, outcome: Outcome, now: number): Step[] {
    const seqs = batch.events.flatMap(({ seq }) => (seq == null ? [] : [seq]))
    if (this.#held) return seqs.map((seq) => ({ do: 'send', frame: this.#each(seq, outcome) }))
    const last = seqs.at(-1)
    if (last === undefined) return []
    this.#ackSeq = last
    this.#unacked += seqs.length
    this.#ackAt = Math.min(this.#ackAt, now + ACK_MS)
    return this.#unacked >= this.#window / 4 ? this.#acknowledge() : []
  }

  #each(seq: number, outcome: Outcome): Ack | Nack {
    const { sid } = this
    if (!outcome.ok) return { op: 'nack', sid, seq, reason: reasonOf(outcome.error) }
    const delay = outcome.back.get(seq)
    if (delay === undefined) return { op: 'ack', sid, seq }
    return { op: 'nack', sid, seq, ...(delay !== null && { delay_ms: delay }) }
  }

  #acknowledge(): Step[] {
    const seq = this.#ackSeq
    this.#forgetAcks()
    return seq === null ? [] : [{ do: 'send', frame: { op: 'ack', sid: this.sid, seq } }]
  }

  #forgetAcks(): void {
    this.#ackSeq = null
    this.#unacked = 0
    this.#ackAt = Infinity
  }

  #put(item: Batch | Notice): Step[] {
    this.#line.push(item)
    return this.#step()
  }

  /** Hands out what is next in line, one batch at a time. */
  #step(): Step[] {
    const steps: Step[] = []
    while (this.#busy === null) {
      const item = this.#line.shift()
      if (item === undefined) break
      if (isBatch(item)) {
        this.#busy = item
        steps.push({ do: 'hand', sid: this.sid, batch: item })
      } else steps.push({ do: 'tell', sid: this.sid, notice: item })
    }
    return steps
  }
}

const isBatch = (item: Batch | Notice): item is Batch => 'events' in item

const reasonOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).slice(0, REASON_CHARS)

const isEphemeral = (batch: Batch): boolean => batch.events[0]?.seq == null

/** Neighbouring drops in one. */
function merged(line: readonly (Batch | Notice)[]): (Batch | Notice)[] {
  const kept: (Batch | Notice)[] = []
  for (const item of line) {
    const last = kept.at(-1)
    const isDrop = !isBatch(item) && item.is === 'dropped'
    if (isDrop && last !== undefined && !isBatch(last) && last.is === 'dropped') {
      kept[kept.length - 1] = { is: 'dropped', count: last.count + item.count }
    } else kept.push(item)
  }
  return kept
}
