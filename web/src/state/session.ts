/**
 * One live view over the protocol, without a socket: frames in, effects out.
 *
 * It holds one subscription and its cursor, resumes it on each new connection, swaps it for
 * another when the patterns change (the old one goes on until the server has said yes), and
 * acknowledges what it has handed out.
 */
import type { ClientFrame, Ev, Event, ServerFrame, Sub } from '../protocol/types.ts'

export type Effect =
  | { readonly do: 'send'; readonly frame: ClientFrame }
  | { readonly do: 'events'; readonly events: readonly Event[] }
  | { readonly do: 'opened'; readonly patterns: readonly string[] }
  | { readonly do: 'refused'; readonly patterns: readonly string[]; readonly message: string }
  | { readonly do: 'gap'; readonly from: number; readonly to: number }
  | { readonly do: 'reset'; readonly message: string }
  | { readonly do: 'dropped'; readonly count: number }
  | { readonly do: 'live' }

interface View {
  readonly sid: string
  readonly patterns: readonly string[]
  cursor: string | null
  request: number
}

const WINDOW = 2_000

export class Session {
  #current: View | null = null
  #wanted: View | null = null
  #connected = false
  #window = WINDOW
  #requests = 0
  #views = 0
  #unacked = 0
  #ackSeq: number | null = null

  /** The patterns that events come by now. */
  get patterns(): readonly string[] | null {
    return this.#current?.patterns ?? null
  }

  /** Asks for other patterns; takes effect when the server agrees. */
  choose(patterns: readonly string[]): Effect[] {
    this.#views += 1
    this.#wanted = { sid: `view-${this.#views}`, patterns, cursor: null, request: 0 }
    return this.#connected ? [this.#subscribe(this.#wanted)] : []
  }

  closed(): void {
    this.#connected = false
    this.#unacked = 0
    this.#ackSeq = null
  }

  /** Acknowledges what was handed out since the last time; call it now and then. */
  acknowledge(): Effect[] {
    if (this.#ackSeq === null || this.#current === null || !this.#connected) return []
    const frame: ClientFrame = { op: 'ack', sid: this.#current.sid, seq: this.#ackSeq }
    this.#ackSeq = null
    this.#unacked = 0
    return [{ do: 'send', frame }]
  }

  receive(frame: ServerFrame): Effect[] {
    switch (frame.op) {
      case 'welcome':
        return this.#welcome(frame.limits.window)
      case 'ping':
        return [{ do: 'send', frame: { op: 'pong' } }]
      case 'ok':
        return this.#granted((view) => view.request === frame.id, frame.pos ?? null)
      case 'err':
        return this.#refused(frame.id, frame.message)
      case 'bye':
        return []
      default:
        return [...this.#granted((view) => view.sid === frame.sid, null), ...this.#push(frame)]
    }
  }

  #welcome(window: number): Effect[] {
    this.#connected = true
    this.#window = Math.min(WINDOW, window)
    const views = [this.#current, this.#wanted].filter((view) => view !== null)
    return views.map((view) => this.#subscribe(view))
  }

  #subscribe(view: View): Effect {
    this.#requests += 1
    view.request = this.#requests
    const { sid, patterns, cursor } = view
    const start: Pick<Sub, 'after' | 'from'> = cursor === null ? { from: 'now' } : { after: cursor }
    const id = view.request
    return { do: 'send', frame: { op: 'sub', id, sid, patterns, window: this.#window, ...start } }
  }

  #granted(isIt: (view: View) => boolean, pos: string | null): Effect[] {
    const view = this.#wanted
    if (view === null || view.request === 0 || !isIt(view)) return this.#confirm(isIt, pos)
    const old = this.#current
    this.#current = view
    this.#wanted = null
    this.#ackSeq = null
    this.#unacked = 0
    view.cursor = pos
    const opened: Effect = { do: 'opened', patterns: view.patterns }
    return old === null ? [opened] : [this.#unsubscribe(old), opened]
  }

  #confirm(isIt: (view: View) => boolean, pos: string | null): Effect[] {
    const view = this.#current
    if (view !== null && isIt(view)) view.cursor ??= pos
    return []
  }

  #unsubscribe(view: View): Effect {
    this.#requests += 1
    return { do: 'send', frame: { op: 'unsub', id: this.#requests, sid: view.sid } }
  }

  #refused(id: number | null, message: string): Effect[] {
    const view = [this.#wanted, this.#current].find((it) => it?.request === id)
    if (!view) return []
    if (view === this.#wanted) this.#wanted = null
    return [{ do: 'refused', patterns: view.patterns, message }]
  }

  #push(frame: Exclude<ServerFrame, { op: 'welcome' | 'ping' | 'ok' | 'err' | 'bye' }>): Effect[] {
    const view = this.#current
    if (view === null || frame.sid !== view.sid) return []
    if ('cursor' in frame) view.cursor = frame.cursor
    switch (frame.op) {
      case 'ev':
        return this.#events(frame)
      case 'gap':
        return [{ do: 'gap', from: frame.from, to: frame.to }]
      case 'reset':
        return [{ do: 'reset', message: frame.message }]
      case 'lag':
        return [{ do: 'dropped', count: frame.dropped }]
      case 'live':
        return [{ do: 'live' }]
      case 'pos':
      case 'ended': // of a durable subscription, which the page holds none of
        return []
    }
  }

  #events(frame: Ev): Effect[] {
    const events: Effect = { do: 'events', events: frame.events }
    const last = frame.events.at(-1)?.seq ?? null
    if (last === null) return [events]
    this.#ackSeq = last
    this.#unacked += frame.events.length
    const due = this.#unacked >= this.#window / 4
    return due ? [events, ...this.acknowledge()] : [events]
  }
}
