/**
 * What the event table shows: the live feed and the log's history, in one bounded list.
 *
 * Events are taken in as they come; the page is told at most once a frame.
 */
import type { Bus } from '../../connection/bus.ts'
import type { Undo } from '../../connection/clock.ts'
import { EVERYTHING, joinPatterns, splitPatterns } from '../../protocol/patterns.ts'
import type { Event } from '../../protocol/types.ts'
import { EventBuffer } from '../../state/buffer.ts'
import type { Link } from '../../state/link.ts'
import { LagMeter, RateMeter } from '../../state/meters.ts'
import type { Notice } from '../../state/reader.ts'
import { count } from '../../state/text.ts'

const PAGE = 200
const WINDOW = 2_000

/** A subscription; another takes its place only when that has been granted. */
interface View {
  readonly patterns: readonly string[]
  readonly end: Undo
}

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

  readonly #bus: Bus
  #shown: View | null = null
  #wanted: View | null = null
  #frame = 0
  #latest: Event | undefined

  constructor(bus: Bus) {
    this.#bus = bus
  }

  /** Follows the link; gives what ends that and every subscription. */
  listen(): Undo {
    const undo = this.#bus.onLink((link) => this.#linked(link))
    return () => {
      undo()
      this.#shown?.end()
      this.#wanted?.end()
    }
  }

  /** Shows other patterns, as typed; a refusal appears in `refusal`, and nothing changes. */
  filter(text: string): void {
    this.refusal = null
    this.#wanted?.end()
    const view: View = {
      patterns: splitPatterns(text),
      end: this.#bus.subscribe(splitPatterns(text), {
        // A token that may see little is shown that little.
        narrow: true,
        window: WINDOW,
        onEvents: (events) => this.#take(events),
        onNotice: (notice) => this.#notice(view, notice),
      }),
    }
    this.#wanted = view
  }

  /** Somebody else may be looking now: what was shown goes, and is asked for anew. */
  restart(): void {
    this.#shown?.end()
    this.#shown = null
    this.buffer.clear()
    this.filter(joinPatterns(this.patterns))
    this.#changed()
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
      this.failure = error instanceof Error ? error.message : String(error)
    } finally {
      this.loading = false
      this.#changed()
    }
  }

  async #readPage(): Promise<void> {
    const { cuts, oldest: before } = this.buffer
    const page = await this.#bus.query({
      patterns: this.patterns,
      order: 'desc',
      limit: PAGE,
      ...(before !== null && { before }),
    })
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

  #notice(view: View, notice: Notice): void {
    switch (notice.is) {
      case 'opened':
        return this.#open(view)
      case 'refused':
        return this.#refused(view, notice.error.message)
      case 'gap':
        return this.#note(`events ${count(notice.from)}–${count(notice.to)} were trimmed`)
      case 'reset':
        return this.#rewind(notice.message)
      case 'dropped':
        this.dropped += notice.count
        return
      case 'live':
        this.caughtUp = true
    }
  }

  #refused(view: View, message: string): void {
    if (view === this.#wanted) this.#wanted = null
    if (view === this.#shown) this.#shown = null
    this.refusal = message
  }

  #open(view: View): void {
    this.#shown?.end()
    this.#shown = view
    this.#wanted = null
    this.patterns = view.patterns
    this.refusal = null
    this.exhausted = false
    this.following = true
    this.buffer.clear()
    this.#settle()
    void this.loadOlder()
  }

  #linked(link: Link): void {
    this.caughtUp = false
    if (link.is === 'live' && this.failure !== null) void this.loadOlder()
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
