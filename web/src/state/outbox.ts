/**
 * What was published and not answered yet, in order: kept over lost connections, bounded.
 *
 * Every event has an id, so one that is sent twice is stored once. The order is kept, but
 * where the server took a later event while it had no room for an earlier one.
 */
import { BusError, errorFrom, retryAfter } from '../protocol/errors.ts'
import type { EventIn, Level, Limits, Pub, Published, Refused } from '../protocol/types.ts'

export interface Entry {
  /** The caller's number for it, growing; it is given back with the result. */
  readonly ticket: number
  readonly event: EventIn & { readonly id: string }
  readonly level: Level | null
  readonly bytes: number
}

export interface Settled {
  readonly ticket: number
  readonly result: Published | BusError
}

/** The most that may wait here, sent or not. */
export interface Room {
  readonly events: number
  readonly bytes: number
}

export const ROOM: Room = { events: 10_000, bytes: 16 * 1024 * 1024 }
const IN_FLIGHT = 1_000
const FRAME_SPARE = 256

export class Outbox {
  readonly #room: Room
  readonly #flying = new Map<number, Entry[]>()
  #queue: Entry[] = []
  #flyingEvents = 0
  #bytes = 0
  #notBefore = 0

  constructor(room: Room = ROOM) {
    this.#room = room
  }

  get size(): number {
    return this.#queue.length + this.#flyingEvents
  }

  /** When to flush again, for what the server had no room for. */
  get deadline(): number {
    const flushable = this.#queue.length > 0 && this.#flyingEvents < IN_FLIGHT
    return flushable ? this.#notBefore : Infinity
  }

  /** Takes one more, or throws `queue_full`. */
  add(entry: Entry): void {
    const { events, bytes } = this.#room
    if (this.size >= events) throw full(`${this.size} events wait, at most ${events} may`, events)
    if (this.#bytes + entry.bytes > bytes) {
      const would = `${this.#bytes + entry.bytes} bytes would wait, at most ${bytes} may`
      throw full(would, bytes)
    }
    this.#queue.push(entry)
    this.#bytes += entry.bytes
  }

  /** The frames to send now; whoever calls it is connected. What fits into none is refused. */
  flush(nextId: () => number, limits: Limits, now: number): { frames: Pub[]; settled: Settled[] } {
    const frames: Pub[] = []
    if (now < this.#notBefore) return { frames, settled: [] }
    const settled = this.#sortOut(limits.frame_bytes - FRAME_SPARE)
    while (this.#queue.length > 0 && this.#flyingEvents < IN_FLIGHT) {
      const entries = this.#queue.splice(0, this.#fit(limits))
      const id = nextId()
      this.#flying.set(id, entries)
      this.#flyingEvents += entries.length
      frames.push(frameOf(id, entries))
    }
    return { frames, settled }
  }

  /** A frame over the limit would end the connection, again and again. */
  #sortOut(most: number): Settled[] {
    const large = this.#queue.filter((entry) => entry.bytes > most)
    if (large.length === 0) return []
    this.#queue = this.#queue.filter((entry) => entry.bytes <= most)
    return large.map((entry) => {
      this.#bytes -= entry.bytes
      const why = `an event of ${entry.bytes} bytes is over the limit of ${most} bytes`
      const result = new BusError(why, { code: 'payload_too_large' }, null, most)
      return { ticket: entry.ticket, result }
    })
  }

  /** How many of the first go into one frame: of one level, and at least one. */
  #fit(limits: Limits): number {
    const most = Math.min(limits.publish_events, IN_FLIGHT - this.#flyingEvents)
    const level = this.#queue[0]?.level
    let left = limits.frame_bytes - FRAME_SPARE
    let count = 0
    for (const entry of this.#queue) {
      left -= entry.bytes + 1
      if (count === most || entry.level !== level || (left < 0 && count > 0)) break
      count += 1
    }
    return count
  }

  /** The server has answered the frame *id*, one result for each event. */
  answered(id: number, results: readonly (Published | Refused)[], now: number): Settled[] {
    const entries = this.#land(id)
    const outcomes = entries.map((entry, at) => ({ entry, result: resultOf(results[at]) }))
    return this.#settle(outcomes, now)
  }

  /** The server has refused the frame *id* as a whole. */
  refused(id: number, error: BusError, now: number): Settled[] {
    return this.#settle(
      this.#land(id).map((entry) => ({ entry, result: error })),
      now,
    )
  }

  /** The connection is gone: whatever was not answered is sent again, first. */
  lost(): void {
    this.#queue = inOrder([...[...this.#flying.values()].flat(), ...this.#queue])
    this.#flying.clear()
    this.#flyingEvents = 0
    this.#notBefore = 0
  }

  /** Gives all up. */
  fail(error: BusError): Settled[] {
    this.lost()
    const settled = this.#queue.map(({ ticket }) => ({ ticket, result: error }))
    this.#queue = []
    this.#bytes = 0
    return settled
  }

  #land(id: number): Entry[] {
    const entries = this.#flying.get(id) ?? []
    this.#flying.delete(id)
    this.#flyingEvents -= entries.length
    return entries
  }

  #settle(outcomes: { entry: Entry; result: Published | BusError }[], now: number): Settled[] {
    const again = outcomes.filter(({ result }) => delayOf(result) !== null)
    if (again.length > 0) {
      this.#queue = inOrder([...again.map(({ entry }) => entry), ...this.#queue])
      this.#notBefore = now + Math.max(...again.map(({ result }) => delayOf(result) ?? 0))
    }
    const done = outcomes.filter(({ result }) => delayOf(result) === null)
    for (const { entry } of done) this.#bytes -= entry.bytes
    return done.map(({ entry, result }) => ({ ticket: entry.ticket, result }))
  }
}

const inOrder = (entries: Entry[]): Entry[] => entries.sort((a, b) => a.ticket - b.ticket)

const delayOf = (result: Published | BusError): number | null =>
  result instanceof BusError ? retryAfter(result) : null

function resultOf(result: Published | Refused | undefined): Published | BusError {
  if (result === undefined) {
    return new BusError('the server gave no result for this event', { code: 'internal' })
  }
  return 'error' in result ? errorFrom(result.error) : result
}

function frameOf(id: number, entries: readonly Entry[]): Pub {
  const level = entries[0]?.level
  const events = entries.map(({ event }) => event)
  return level == null ? { op: 'pub', id, events } : { op: 'pub', id, events, level }
}

const full = (why: string, limit: number): BusError =>
  new BusError(`cannot publish: ${why}`, { code: 'queue_full', limit }, null, limit)

/** How many bytes *text* has in UTF-8. */
export function utf8Length(text: string): number {
  let bytes = text.length
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at)
    if (unit < 0x80) continue
    // Each half of a surrogate pair counts 2, together 4.
    bytes += unit < 0x800 || (unit >= 0xd800 && unit <= 0xdfff) ? 1 : 2
  }
  return bytes
}
