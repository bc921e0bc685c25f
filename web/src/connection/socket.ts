/**
 * The WebSocket that stays: it performs what `state/link.ts` and `state/session.ts` decide.
 *
 * Usable without the desktop: make one, listen, `start()`, and `choose()` patterns.
 */
import { encodeFrame, parseFrame, ProtocolError } from '../protocol/frames.ts'
import { SUBPROTOCOL, type Event, type ServerFrame } from '../protocol/types.ts'
import { firstTry, isFinal, lost, retry, type Link } from '../state/link.ts'
import { Session, type Effect } from '../state/session.ts'

export interface FeedListener {
  /** The connection came, went or is being tried. */
  link?(link: Link): void
  events?(events: readonly Event[]): void
  /** A subscription to other patterns has begun: older events are of another view. */
  opened?(patterns: readonly string[]): void
  refused?(patterns: readonly string[], message: string): void
  gap?(from: number, to: number): void
  reset?(message: string): void
  dropped?(count: number): void
  /** Caught up; what follows is live. */
  live?(): void
}

const ACK_MS = 100
const OPEN_MS = 10_000
const SLACK_MS = 15_000
const UNAUTHORIZED = 4501
const TOO_OLD = 4502

export class Feed {
  readonly #url: string
  readonly #session = new Session()
  readonly #listeners = new Set<FeedListener>()
  #link: Link = firstTry
  #socket: WebSocket | null = null
  #retryTimer: ReturnType<typeof setTimeout> | undefined
  #silenceTimer: ReturnType<typeof setTimeout> | undefined
  #ackTimer: ReturnType<typeof setTimeout> | undefined
  #silenceMs = OPEN_MS
  #farewell = ''

  constructor(url: string) {
    this.#url = url
  }

  get link(): Link {
    return this.#link
  }

  /** Adds a listener; gives what removes it. */
  listen(listener: FeedListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  start(): void {
    if (this.#socket !== null) return
    this.#move(firstTry)
    this.#connect()
  }

  /** Tries again at once, if it is waiting to, or has given up. */
  retryNow(): void {
    if (this.#link.is !== 'waiting' && this.#link.is !== 'stopped') return
    clearTimeout(this.#retryTimer)
    this.#move(retry(this.#link))
    this.#connect()
  }

  choose(patterns: readonly string[]): void {
    this.#perform(this.#session.choose(patterns))
  }

  #connect(): void {
    const socket = new WebSocket(this.#url, SUBPROTOCOL)
    this.#socket = socket
    this.#farewell = ''
    this.#silenceMs = OPEN_MS
    this.#heard()
    const mine = (act: () => void) => () => {
      if (this.#socket === socket) act()
    }
    socket.onopen = mine(() => socket.send(encodeFrame({ op: 'hello', v: 1 })))
    socket.onmessage = (message) => mine(() => this.#message(String(message.data)))()
    socket.onclose = (close) => mine(() => this.#closed(close.code, close.reason))()
  }

  #message(text: string): void {
    this.#heard()
    let frame: ServerFrame | null
    try {
      frame = parseFrame(text)
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      this.#drop(TOO_OLD, error.message)
      return
    }
    if (frame === null) return
    if (frame.op === 'bye') this.#farewell = frame.reason
    if (frame.op === 'welcome') {
      this.#silenceMs = frame.ping_ms + SLACK_MS
      this.#move({ is: 'open' })
    }
    this.#perform(this.#session.receive(frame))
    this.#ackTimer ??= setTimeout(() => this.#acknowledge(), ACK_MS)
  }

  #acknowledge(): void {
    this.#ackTimer = undefined
    this.#perform(this.#session.acknowledge())
  }

  /** Nothing heard for longer than the server's pings allow: the connection is dead. */
  #heard(): void {
    clearTimeout(this.#silenceTimer)
    this.#silenceTimer = setTimeout(() => this.#drop(1006, 'silent'), this.#silenceMs)
  }

  #drop(code: number, reason: string): void {
    const socket = this.#socket
    this.#closed(code, reason)
    socket?.close()
  }

  #closed(code: number, reason: string): void {
    clearTimeout(this.#silenceTimer)
    this.#socket = null
    this.#session.closed()
    const why = this.#farewell || reason
    if (code === UNAUTHORIZED) this.#move({ is: 'signed-out', message: null })
    else if (isFinal(code)) this.#move({ is: 'stopped', reason: why || `closed with ${code}` })
    else this.#wait()
  }

  #wait(): void {
    const now = Date.now()
    const link = lost(this.#link, now, Math.random())
    this.#move(link)
    if (link.is !== 'waiting') return
    this.#retryTimer = setTimeout(() => this.retryNow(), link.retryAt - now)
  }

  #move(link: Link): void {
    this.#link = link
    this.#tell((listener) => listener.link?.(link))
  }

  #perform(effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.do === 'send') this.#socket?.send(encodeFrame(effect.frame))
      else this.#tell((listener) => hand(listener, effect))
    }
  }

  #tell(act: (listener: FeedListener) => void): void {
    for (const listener of this.#listeners) act(listener)
  }
}

function hand(listener: FeedListener, effect: Exclude<Effect, { do: 'send' }>): void {
  switch (effect.do) {
    case 'events':
      return listener.events?.(effect.events)
    case 'opened':
      return listener.opened?.(effect.patterns)
    case 'refused':
      return listener.refused?.(effect.patterns, effect.message)
    case 'gap':
      return listener.gap?.(effect.from, effect.to)
    case 'reset':
      return listener.reset?.(effect.message)
    case 'dropped':
      return listener.dropped?.(effect.count)
    case 'live':
      return listener.live?.()
  }
}

/** Where the socket is, for a page at *location*. */
export function socketUrl(location: { protocol: string; host: string }): string {
  return `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/v1/ws`
}
