/**
 * What the event table shows: the live feed and the log's history, in one bounded list.
 *
 * Events are taken in as they come; the page is told at most once a frame.
 */
import { ApiError, type Api } from '../../connection/http.ts'
import type { Feed } from '../../connection/socket.ts'
import { EVERYTHING, splitPatterns } from '../../protocol/patterns.ts'
import type { Event } from '../../protocol/types.ts'
import { EventBuffer } from '../../state/buffer.ts'
import { LagMeter, RateMeter } from '../../state/meters.ts'
import { count } from '../../state/text.ts'

const PAGE = 200

export class Tail {
  readonly buffer = new EventBuffer()
  readonly rate = new RateMeter()
  readonly lag = new LagMeter()

  /** Grows whenever the rows have changed; reading it makes a view follow them. */
  version = $state(0)
  patterns = $state.raw<readonly string[]>(EVERYTHING)
  refusal = $state<string | null>(null)
  dropped = $state(0)
  caughtUp = $state(false)
  loading = $state(false)
  exhausted = $state(false)
  failure = $state<string | null>(null)
  paused = $state(false)
  following = $state(true)

  readonly #feed: Feed
  readonly #api: Api
  #frame = 0
  #latest: Event | undefined

  constructor(feed: Feed, api: Api) {
    this.#feed = feed
    this.#api = api
  }

  /** Starts to listen; gives what stops it. */
  listen(): () => void {
    return this.#feed.listen({
      events: (events) => this.#take(events),
      opened: (patterns) => this.#open(patterns),
      refused: (_patterns, message) => (this.refusal = message),
      gap: (from, to) => this.#note(`events ${count(from)}–${count(to)} were trimmed`),
      reset: (message) => this.#rewind(message),
      dropped: (more) => (this.dropped += more),
      live: () => (this.caughtUp = true),
      link: (link) => this.#linked(link.is === 'open'),
    })
  }

  /** Shows other patterns, as typed; a refusal appears in `refusal`, and nothing changes. */
  filter(text: string): void {
    this.refusal = null
    this.#feed.choose(splitPatterns(text))
  }

  pause(on: boolean): void {
    this.paused = on
    this.#settle()
  }

  follow(on: boolean): void {
    if (this.following === on) return
    this.following = on
    this.#settle()
  }

  /** Back to the newest, and on with them. */
  jumpToLatest(): void {
    this.paused = false
    this.following = true
    this.#settle()
  }

  /** Reads the page of history before the first row, unless there is none. */
  async loadOlder(): Promise<void> {
    if (this.loading || this.exhausted || !this.buffer.canGoBack) return
    this.loading = true
    try {
      await this.#readPage()
      this.failure = null
    } catch (error) {
      this.failure = error instanceof ApiError ? error.message : 'the server cannot be reached'
    } finally {
      this.loading = false
      this.#changed()
    }
  }

  async #readPage(): Promise<void> {
    const { cuts, oldest: before } = this.buffer
    const page = await this.#api.events({ patterns: this.patterns, before, limit: PAGE })
    if (cuts !== this.buffer.cuts) return
    this.buffer.prepend(page.events.toReversed())
    this.exhausted = page.next === null
  }

  #take(events: readonly Event[]): void {
    const fresh = this.buffer.append(events)
    if (fresh === 0) return
    this.rate.add(fresh, performance.now())
    this.#latest = events.at(-1)
    this.#changed()
  }

  #open(patterns: readonly string[]): void {
    this.patterns = patterns
    this.refusal = null
    this.exhausted = false
    this.following = true
    this.buffer.clear()
    this.#settle()
    void this.loadOlder()
  }

  #linked(open: boolean): void {
    this.caughtUp = false
    if (open && this.failure !== null) void this.loadOlder()
  }

  #note(text: string): void {
    this.buffer.note(text, 'warning')
    this.#changed()
  }

  #rewind(message: string): void {
    this.buffer.rewind(`the log was replaced: ${message}; what follows is another history`)
    this.exhausted = false
    this.#changed()
  }

  #settle(): void {
    const hold = this.paused || !this.following
    if (hold && !this.buffer.holding) this.buffer.hold()
    if (!hold && this.buffer.holding) this.#release()
    this.#changed()
  }

  #release(): void {
    if (this.buffer.broken) this.exhausted = false
    this.buffer.release()
  }

  #changed(): void {
    if (this.#frame !== 0) return
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0
      this.version += 1
      if (!this.buffer.holding) this.lag.add(this.#latest?.recorded, Date.now())
      this.#latest = undefined
    })
  }
}
