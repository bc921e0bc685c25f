/**
 * The client's side of the protocol, without a socket: calls and frames in, effects out.
 *
 * It outlives connections. What was asked for is asked again on the next one, what was
 * published and not answered is sent again, and a connection on which nothing is heard for
 * longer than the server's pings allow is given up. Time is milliseconds of any clock.
 */
import { BusError, closedError, errorFrom } from '../protocol/errors.ts'
import type {
  ClientFrame,
  Err,
  Limits,
  Ok,
  Published,
  ServerFrame,
  Welcome,
} from '../protocol/types.ts'
import { Outbox, ROOM, type Entry, type Room, type Settled } from './outbox.ts'
import { Reader, type Ask, type Batch, type Notice, type Outcome } from './reader.ts'

export type Effect =
  | { readonly do: 'send'; readonly frame: ClientFrame }
  /** Give these to the handler of *sid*, then call `handled`. */
  | { readonly do: 'hand'; readonly sid: string; readonly batch: Batch }
  | { readonly do: 'tell'; readonly sid: string; readonly notice: Notice }
  | { readonly do: 'settle'; readonly ticket: number; readonly result: Published | BusError }
  /** The new token *ticket* counts, or was refused. */
  | { readonly do: 'refreshed'; readonly ticket: number; readonly error: BusError | null }
  /** The handshake is done. */
  | { readonly do: 'welcome' }
  /** Give the connection up. */
  | { readonly do: 'drop'; readonly reason: string }

const OPEN_MS = 10_000
const SLACK_MS = 15_000

interface Refresh {
  readonly ticket: number
  /** The request on this connection; null while it waits for the next. */
  id: number | null
  readonly before: string | null
}

export class Session {
  #token: string | null
  readonly #outbox: Outbox
  readonly #readers = new Map<string, Reader>()
  #refresh: Refresh | null = null
  #limits: Limits | null = null
  #requests = 0
  #subscriptions = 0
  #silentAt = Infinity
  #silenceMs = OPEN_MS

  constructor(token: string | null = null, room: Room = ROOM) {
    this.#token = token
    this.#outbox = new Outbox(room)
  }

  get token(): string | null {
    return this.#token
  }

  /** How many publishes have no answer yet. */
  get unanswered(): number {
    return this.#outbox.size
  }

  /** When to call `tick`, at the latest. Calling early does no harm. */
  get deadline(): number {
    const readers = [...this.#readers.values()].map((reader) => reader.deadline)
    const due = this.#limits === null ? Infinity : Math.min(this.#outbox.deadline, ...readers)
    return Math.min(this.#silentAt, due)
  }

  // --- what the program asks -------------------------------------------------------------

  /** A new subscription; asked for at once if connected. */
  subscribe(ask: Ask, now: number): { sid: string; effects: Effect[] } {
    this.#subscriptions += 1
    const sid = `sub-${this.#subscriptions}`
    const reader = new Reader(sid, ask)
    this.#readers.set(sid, reader)
    if (this.#limits !== null) reader.connected(this.#limits.window, now)
    return { sid, effects: this.tick(now) }
  }

  unsubscribe(sid: string): Effect[] {
    const reader = this.#readers.get(sid)
    this.#readers.delete(sid)
    if (reader === undefined || !reader.known) return []
    return [{ do: 'send', frame: { op: 'unsub', id: this.#nextId(), sid } }]
  }

  /** The handler of *sid* has ended with what it was given last. */
  handled(sid: string, outcome: Outcome, now: number): Effect[] {
    const reader = this.#readers.get(sid)
    return reader === undefined ? [] : [...this.#step(reader, reader.handled(outcome, now)), ...this.tick(now)]
  }

  /** Takes an event, or throws `queue_full`; `tick` sends it. */
  publish(entry: Entry): void {
    this.#outbox.add(entry)
  }

  /** Uses another token from now on, on this connection too. */
  refresh(token: string, ticket: number): Effect[] {
    const effects = this.#refreshed(closedError('a newer token took its place', 1000))
    this.#refresh = { ticket, id: null, before: this.#token }
    this.#token = token
    if (this.#limits === null) return effects
    this.#refresh.id = this.#nextId()
    return [...effects, { do: 'send', frame: { op: 'refresh', id: this.#refresh.id, token } }]
  }

  /** Nothing will be asked any more, at least not by itself: whoever waits is told. */
  end(reason: string, code: number): Effect[] {
    this.lost()
    const error = closedError(reason, code)
    return [...settles(this.#outbox.fail(error)), ...this.#refreshed(error)]
  }

  // --- the connection --------------------------------------------------------------------

  /** A socket has been made. */
  opening(now: number): void {
    this.#silenceMs = OPEN_MS
    this.#heard(now)
  }

  /** The socket is open. */
  opened(now: number): Effect[] {
    this.#heard(now)
    const token = this.#token
    const frame: ClientFrame = token === null ? { op: 'hello', v: 1 } : { op: 'hello', v: 1, token }
    return [{ do: 'send', frame }]
  }

  lost(): void {
    this.#limits = null
    this.#silentAt = Infinity
    this.#outbox.lost()
    if (this.#refresh !== null) this.#refresh.id = null
    for (const reader of this.#readers.values()) reader.lost()
  }

  receive(frame: ServerFrame, now: number): Effect[] {
    this.#heard(now)
    return [...this.#take(frame, now), ...this.tick(now)]
  }

  #take(frame: ServerFrame, now: number): Effect[] {
    switch (frame.op) {
      case 'welcome':
        return this.#welcome(frame, now)
      case 'ping':
        return [{ do: 'send', frame: { op: 'pong' } }]
      case 'ok':
        return this.#ok(frame, now)
      case 'err':
        return this.#err(frame, now)
      case 'bye':
        return []
      default: {
        const reader = this.#readers.get(frame.sid)
        return reader === undefined ? [] : this.#step(reader, reader.receive(frame, now))
      }
    }
  }

  #welcome(frame: Welcome, now: number): Effect[] {
    this.#limits = frame.limits
    this.#silenceMs = frame.ping_ms + SLACK_MS
    this.#heard(now)
    for (const reader of this.#readers.values()) reader.connected(frame.limits.window, now)
    return [{ do: 'welcome' }, ...this.#refreshed(null)]
  }

  #ok(frame: Ok, now: number): Effect[] {
    const reader = this.#asker(frame.id)
    if (reader !== undefined) return this.#step(reader, reader.granted(frame))
    if (this.#refresh?.id === frame.id) return this.#refreshed(null)
    return settles(this.#outbox.answered(frame.id, frame.results ?? [], now))
  }

  #err(frame: Err, now: number): Effect[] {
    const error = errorFrom(frame)
    const reader = this.#asker(frame.id)
    if (reader !== undefined) return this.#step(reader, reader.refused(error, now))
    if (frame.id === null) return []
    if (this.#refresh?.id === frame.id) {
      this.#token = this.#refresh.before
      return this.#refreshed(error)
    }
    return settles(this.#outbox.refused(frame.id, error, now))
  }

  #asker(id: number | null): Reader | undefined {
    return [...this.#readers.values()].find((reader) => reader.isAnsweredBy(id))
  }

  #refreshed(error: BusError | null): Effect[] {
    if (this.#refresh === null) return []
    const { ticket } = this.#refresh
    this.#refresh = null
    return [{ do: 'refreshed', ticket, error }]
  }

  /** What a reader wants done; one that is over leaves, also at the server. */
  #step(reader: Reader, steps: Effect[]): Effect[] {
    return reader.over ? [...steps, ...this.unsubscribe(reader.sid)] : steps
  }

  // --- time ------------------------------------------------------------------------------

  /** Does what is due. */
  tick(now: number): Effect[] {
    if (now >= this.#silentAt) {
      this.#silentAt = Infinity
      return [{ do: 'drop', reason: `nothing was heard for ${this.#silenceMs / 1000} s` }]
    }
    if (this.#limits === null) return []
    const nextId = (): number => this.#nextId()
    const { frames, settled } = this.#outbox.flush(nextId, this.#limits, now)
    const pubs = frames.map((frame): Effect => ({ do: 'send', frame }))
    const due = [...this.#readers.values()].flatMap((reader): Effect[] => reader.tick(nextId, now))
    return [...settles(settled), ...due, ...pubs]
  }

  #heard(now: number): void {
    this.#silentAt = now + this.#silenceMs
  }

  #nextId(): number {
    this.#requests += 1
    return this.#requests
  }
}

const settles = (settled: readonly Settled[]): Effect[] =>
  settled.map(({ ticket, result }) => ({ do: 'settle', ticket, result }))
