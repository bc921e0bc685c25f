/**
 * The client: it performs what `state/link.ts` and `state/session.ts` decide, and moves bytes.
 *
 * It needs a WebSocket, `fetch` and timers, and nothing of a page. A page gives no token: its
 * cookie goes along.
 */
import { BusError, closedError } from '../protocol/errors.ts'
import { encodeFrame, parseFrame, ProtocolError } from '../protocol/frames.ts'
import {
  SUBPROTOCOL,
  type Event,
  type EventIn,
  type EventPage,
  type Level,
  type Published,
  type ServerFrame,
  type TokenInfo,
  type TopicInfo,
} from '../protocol/types.ts'
import { isFinal, lost, retry, welcomed, type Link } from '../state/link.ts'
import { utf8Length, type Room } from '../state/outbox.ts'
import type { Ask, Batch, Notice, Outcome } from '../state/reader.ts'
import { Session, type Effect } from '../state/session.ts'
import { systemClock, type Clock, type Undo } from './clock.ts'
import { Follow } from './follow.ts'
import { Api, type Query } from './http.ts'

export interface Options {
  /** `http://HOST:PORT`; in a page its own origin if absent. */
  readonly url?: string
  readonly token?: string
  /** False: connects only when `hurry` is called. */
  readonly begin?: boolean
  /** The most publishes that wait for an answer; 10,000 events and 16 MiB if absent. */
  readonly room?: Room
  readonly WebSocket?: typeof WebSocket
  readonly fetch?: typeof fetch
  readonly clock?: Clock
  /** From 0 to 1, for the waits between tries. */
  readonly random?: () => number
}

export type PublishOptions = Omit<EventIn, 'topic' | 'payload'> & { readonly level?: Level }

/** What a handler may do about the events that it was given. */
export interface Delivery {
  /** The position after them. */
  readonly cursor: string
  /** How often each has been tried, this time included; more than 1 only with a durable one. */
  readonly attempts: readonly number[]
  /**
   * A durable subscription's event comes again and is not acknowledged: after *delayMs*, or if
   * that is absent, after a second that doubles with each failure.
   */
  giveBack(event: Event, delayMs?: number): void
}

export type OnEvents = (events: readonly Event[], delivery: Delivery) => unknown

export interface Subscribing extends Omit<Ask, 'patterns'> {
  /** Acknowledged when it has returned, or its promise was kept; the next come only then. */
  readonly onEvents: OnEvents
  readonly onNotice?: (notice: Notice) => void
}

export type Following = Omit<Subscribing, 'onEvents'>

interface Waiting<T> {
  resolve(value: T): void
  reject(error: unknown): void
}

const CLOSED = 1000
const BROKEN = 1002
const LOST = 1006

/** Connects in the background, at once; what is asked meanwhile waits. Close it in the end. */
export const connect = (options: Options = {}): Bus => new Bus(options)

export class Bus {
  /** The HTTP side, by the same token. */
  readonly api: Api
  readonly #url: string
  readonly #Socket: typeof WebSocket
  readonly #clock: Clock
  readonly #random: () => number
  readonly #session: Session
  readonly #handlers = new Map<string, Subscribing>()
  readonly #follows = new Set<Follow>()
  readonly #publishes = new Map<number, Waiting<Published>>()
  readonly #refreshes = new Map<number, Waiting<void>>()
  readonly #listeners = new Set<(link: Link) => void>()
  #link: Link = { is: 'ended', code: CLOSED, reason: 'not begun' }
  #socket: WebSocket | null = null
  #farewell: { readonly code: number; readonly reason: string } | null = null
  #closed = false
  #tickets = 0
  #latest = 0
  #flushing = false
  #effects: Effect[] = []
  #performing = false
  #timer: { readonly at: number; readonly undo: Undo } | null = null

  constructor(options: Options = {}) {
    const base = options.url?.replace(/\/+$/, '')
    this.#url = socketUrl(base ?? location.origin)
    this.#Socket = options.WebSocket ?? WebSocket
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? Math.random
    this.#session = new Session(options.token ?? null, options.room)
    this.api = new Api({
      ...(base !== undefined && { base }),
      ...(options.fetch && { fetch: options.fetch }),
      token: () => this.#session.token,
    })
    if (options.begin !== false) this.hurry()
  }

  // --- the link --------------------------------------------------------------------------

  get link(): Link {
    return this.#link
  }

  /** Calls *listener* at each change of the link; gives what ends that. */
  onLink(listener: (link: Link) => void): Undo {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Connects now, if it waits to or has ended; not after `close`. */
  hurry(): void {
    if (this.#closed || (this.#link.is !== 'waiting' && this.#link.is !== 'ended')) return
    this.#move(retry(this.#link))
    this.#connect()
  }

  /** Ends everything; publishes without an answer fail with `closed`, their outcome unknown. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#release()?.close(CLOSED)
    for (const follow of this.#follows) follow.stop(null)
    this.#handlers.clear()
    this.#finish(CLOSED, 'this client was closed')
    this.#timer?.undo()
  }

  /** How many publishes have no answer yet. */
  get unanswered(): number {
    return this.#session.unanswered
  }

  // --- what it is for --------------------------------------------------------------------

  /**
   * Publishes one event. It waits through lost connections and a server without room, and is
   * sent again by its id until it is answered; refused, it fails with a `BusError`.
   */
  publish(topic: string, payload: unknown = null, options: PublishOptions = {}): Promise<Published> {
    if (this.#link.is === 'ended') return Promise.reject(endedError(this.#link))
    const { level, ...rest } = options
    const event = { topic, payload, ...rest, id: rest.id ?? newId() }
    this.#tickets += 1
    const ticket = this.#tickets
    return new Promise((resolve, reject) => {
      const bytes = utf8Length(JSON.stringify(event))
      this.#session.publish({ ticket, event, level: level ?? null, bytes })
      this.#publishes.set(ticket, { resolve, reject })
      this.#flushSoon()
    })
  }

  /** Hands matching events to `onEvents`, from now on or from where it is told; gives its end. */
  subscribe(patterns: readonly string[], options: Subscribing): Undo {
    if (this.#closed) throw closedError('this client was closed', CLOSED)
    const { sid, effects } = this.#session.subscribe({ ...options, patterns }, this.#now())
    this.#handlers.set(sid, options)
    this.#perform(effects)
    return () => {
      if (this.#handlers.delete(sid)) this.#perform(this.#session.unsubscribe(sid))
    }
  }

  /** The same for `for await`; it is subscribed at once, before the loop begins. */
  follow(patterns: readonly string[], options: Following = {}): Follow {
    const follow = new Follow(options.onNotice)
    const undo = this.subscribe(patterns, {
      ...options,
      onEvents: (events) => follow.take(events),
      onNotice: (notice) => follow.notice(notice),
    })
    this.#follows.add(follow)
    follow.bind(() => {
      this.#follows.delete(follow)
      undo()
    })
    return follow
  }

  /** One page of stored events. */
  query(query: Query = {}): Promise<EventPage> {
    return this.api.query(query)
  }

  topics(patterns: readonly string[] = []): Promise<readonly TopicInfo[]> {
    return this.api.topics(patterns)
  }

  /** Whose token this is, and what it may. */
  me(): Promise<TokenInfo> {
    return this.api.me()
  }

  /** Uses another token from now on; resolves when the server has taken it. */
  refresh(token: string): Promise<void> {
    this.#tickets += 1
    const ticket = this.#tickets
    return new Promise((resolve, reject) => {
      if (this.#closed) throw closedError('this client was closed', CLOSED)
      this.#refreshes.set(ticket, { resolve, reject })
      this.#perform(this.#session.refresh(token, ticket))
      if (this.#link.is === 'ended') this.hurry()
    })
  }

  // --- the socket ------------------------------------------------------------------------

  #connect(): void {
    const socket = new this.#Socket(this.#url, SUBPROTOCOL)
    this.#socket = socket
    this.#farewell = null
    this.#session.opening(this.#now())
    socket.onopen = () => this.#perform(this.#session.opened(this.#now()))
    socket.onmessage = (message) => this.#message(String(message.data))
    socket.onclose = (close) => this.#lost(close.code, close.reason)
    this.#arm()
  }

  #message(text: string): void {
    let frame: ServerFrame | null
    try {
      frame = parseFrame(text)
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      this.#release()?.close()
      this.#finish(BROKEN, error.message)
      return
    }
    if (frame === null) return
    if (frame.op === 'bye') this.#farewell = frame
    this.#perform(this.#session.receive(frame, this.#now()))
  }

  /** Lets go of the socket: nothing that it still says is heard. */
  #release(): WebSocket | null {
    const socket = this.#socket
    this.#socket = null
    if (socket !== null) socket.onopen = socket.onmessage = socket.onclose = null
    return socket
  }

  #lost(code: number, reason: string): void {
    this.#release()
    const why = this.#farewell?.reason || reason || `closed with ${code}`
    const told = isFinal(this.#farewell?.code ?? 0) ? (this.#farewell?.code ?? code) : code
    if (isFinal(told)) this.#finish(told, why)
    else {
      this.#session.lost()
      this.#move(lost(this.#link, this.#now(), this.#random()))
      this.#arm()
    }
  }

  #finish(code: number, reason: string): void {
    const link: Link = { is: 'ended', code, reason }
    this.#perform(this.#session.end(reason, code))
    for (const follow of this.#follows) follow.stop(endedError(link))
    this.#move(link)
  }

  #move(link: Link): void {
    this.#link = link
    for (const listener of [...this.#listeners]) listener(link)
  }

  // --- effects ---------------------------------------------------------------------------

  /** In order, also those that come from within: a handler may publish or subscribe. */
  #perform(effects: readonly Effect[]): void {
    this.#effects.push(...effects)
    if (this.#performing) return
    this.#performing = true
    try {
      for (let next = this.#effects.shift(); next; next = this.#effects.shift()) this.#do(next)
    } finally {
      this.#performing = false
    }
    this.#arm()
  }

  #do(effect: Effect): void {
    switch (effect.do) {
      case 'send':
        return this.#socket?.send(encodeFrame(effect.frame))
      case 'hand':
        return this.#hand(effect.sid, effect.batch)
      case 'tell':
        return this.#tell(effect.sid, effect.notice)
      case 'settle':
        return settle(this.#publishes, effect.ticket, effect.result)
      case 'refreshed':
        return settle(this.#refreshes, effect.ticket, effect.error ?? undefined)
      case 'welcome':
        return this.#move(welcomed(this.#link, this.#now()))
      case 'drop': {
        const socket = this.#release()
        this.#lost(LOST, effect.reason)
        socket?.close()
      }
    }
  }

  #hand(sid: string, batch: Batch): void {
    const handler = this.#handlers.get(sid)
    if (handler === undefined) return
    const back = new Map<number, number | null>()
    const delivery: Delivery = {
      cursor: batch.cursor,
      attempts: batch.attempts,
      giveBack: (event, delayMs) => event.seq != null && void back.set(event.seq, delayMs ?? null),
    }
    const done = (outcome: Outcome): void =>
      this.#perform(this.#session.handled(sid, outcome, this.#now()))
    try {
      const result = handler.onEvents(batch.events, delivery)
      if (!isPromise(result)) return done({ ok: true, back })
      result.then(
        () => done({ ok: true, back }),
        (error: unknown) => done({ ok: false, error }),
      )
    } catch (error) {
      done({ ok: false, error })
    }
  }

  #tell(sid: string, notice: Notice): void {
    const handler = this.#handlers.get(sid)
    if (notice.is === 'refused' || notice.is === 'failed') this.#handlers.delete(sid)
    handler?.onNotice?.(notice)
  }

  // --- time ------------------------------------------------------------------------------

  /** Never goes back. */
  #now(): number {
    this.#latest = Math.max(this.#latest, this.#clock.now())
    return this.#latest
  }

  #flushSoon(): void {
    if (this.#flushing) return
    this.#flushing = true
    queueMicrotask(() => {
      this.#flushing = false
      this.#perform(this.#session.tick(this.#now()))
    })
  }

  /** One timer, moved only to an earlier time: one that comes early finds nothing due. */
  #arm(): void {
    const due = this.#link.is === 'waiting' ? this.#link.retryAt : Infinity
    const at = Math.min(this.#session.deadline, due)
    if (this.#closed || at === Infinity || (this.#timer !== null && this.#timer.at <= at)) return
    this.#timer?.undo()
    const undo = this.#clock.after(at - this.#now(), () => this.#ring(at))
    this.#timer = { at, undo }
  }

  /** A clock that was set back must not hold anything up: it is *at*, at least. */
  #ring(at: number): void {
    this.#timer = null
    this.#latest = Math.max(at, this.#latest)
    const now = this.#now()
    if (this.#link.is === 'waiting' && now >= this.#link.retryAt) this.hurry()
    this.#perform(this.#session.tick(now))
  }
}

function settle<T>(all: Map<number, Waiting<T>>, ticket: number, result: T | BusError): void {
  const waiting = all.get(ticket)
  all.delete(ticket)
  if (result instanceof BusError) waiting?.reject(result)
  else waiting?.resolve(result)
}

const isPromise = (value: unknown): value is Promise<unknown> =>
  typeof value === 'object' && value !== null && 'then' in value

const endedError = (link: { readonly code: number; readonly reason: string }): BusError =>
  closedError(`the connection has ended: ${link.reason}`, link.code)

/** 128 bits of chance; `crypto.randomUUID` is missing where a page has no secure context. */
function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** Where the socket is, of a server at *url*. */
export const socketUrl = (url: string): string => `${url.replace(/^http/, 'ws')}/v1/ws`
