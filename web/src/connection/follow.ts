/** A subscription as an async iterator: one event after the other, acknowledged once consumed. */
import { BusError, closedError } from '../protocol/errors.ts'
import type { Event } from '../protocol/types.ts'
import type { Notice } from '../state/reader.ts'
import type { Undo } from './clock.ts'

interface Waiter {
  resolve(result: IteratorResult<Event, undefined>): void
  reject(error: unknown): void
}

const DONE: IteratorResult<Event, undefined> = { done: true, value: undefined }

/** Made by `Bus.follow`; reads for one reader. Leaving the loop ends the subscription. */
export class Follow implements AsyncIterableIterator<Event, undefined> {
  readonly #tellNotices: ((notice: Notice) => void) | undefined
  #undo: Undo | null = null
  #events: readonly Event[] = []
  #at = 0
  #consumed: (() => void) | null = null
  #waiter: Waiter | null = null
  #end: { readonly error: unknown } | null = null

  constructor(onNotice?: (notice: Notice) => void) {
    this.#tellNotices = onNotice
  }

  /** What ends the subscription; called once, right after the making. */
  bind(undo: Undo): void {
    this.#undo = undo
  }

  /** Takes the next events; resolves when the reader has asked for what follows them. */
  take(events: readonly Event[]): Promise<void> {
    return new Promise((resolve) => {
      this.#events = events
      this.#at = 0
      this.#consumed = resolve
      this.#serve()
    })
  }

  /** Without a handler for notices, whatever is missing or ends it is thrown to the reader. */
  notice(notice: Notice): void {
    this.#tellNotices?.(notice)
    if (notice.is === 'refused' || notice.is === 'failed') this.stop(notice.error)
    else if (this.#tellNotices === undefined) this.#throwMissing(notice)
  }

  #throwMissing(notice: Notice): void {
    if (notice.is === 'gap') {
      const { from, to, cursor } = notice
      this.stop(new BusError(`events ${from} to ${to} were trimmed`, { code: 'gap', from, to, cursor }))
    } else if (notice.is === 'reset') {
      this.stop(new BusError(notice.message, { code: 'reset', cursor: notice.cursor }))
    }
  }

  /** No more events come: the reader gets *error*, or with null just the end. */
  stop(error: unknown): void {
    if (this.#end !== null) return
    this.#end = { error }
    this.#undo?.()
    this.#serve()
  }

  next(): Promise<IteratorResult<Event, undefined>> {
    if (this.#waiter !== null) return Promise.reject(closedError('one reader at a time', 1000))
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject }
      if (this.#at >= this.#events.length) this.#release()
      this.#serve()
    })
  }

  return(): Promise<IteratorResult<Event, undefined>> {
    this.#events = []
    this.stop(null)
    this.#release()
    return Promise.resolve(DONE)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  #release(): void {
    const consumed = this.#consumed
    this.#consumed = null
    consumed?.()
  }

  #serve(): void {
    const waiter = this.#waiter
    if (waiter === null) return
    const event = this.#events[this.#at]
    if (event === undefined && this.#end === null) return
    this.#waiter = null
    if (event !== undefined) {
      this.#at += 1
      waiter.resolve({ done: false, value: event })
    } else if (this.#end?.error == null) waiter.resolve(DONE)
    else {
      waiter.reject(this.#end.error)
      this.#end = { error: null }
    }
  }
}
