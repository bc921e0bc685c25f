/** What the header measures: how many events a second, and how late they are shown. Times in ms. */

const STEP_MS = 250
const STEPS = 240

/** Counts events in steps of a quarter of a second, one minute back. */
export class RateMeter {
  #counts = new Float64Array(STEPS)
  #step = 0
  #total = 0

  add(count: number, now: number): void {
    this.#moveTo(now)
    const at = this.#step % STEPS
    this.#counts[at] = (this.#counts[at] ?? 0) + count
    this.#total += count
  }

  get total(): number {
    return this.#total
  }

  /** Events a second over the last two whole seconds. */
  rate(now: number): number {
    return this.#sum(now, 1, 8) / 2
  }

  /** One number a second, the oldest first, for drawing. */
  history(now: number, seconds = 60): number[] {
    const perSecond = 1000 / STEP_MS
    const points = Array.from({ length: seconds }, (_, ago) =>
      this.#sum(now, 1 + ago * perSecond, perSecond),
    )
    return points.reverse()
  }

  #sum(now: number, from: number, count: number): number {
    this.#moveTo(now)
    let sum = 0
    for (let ago = from; ago < from + count && ago < STEPS; ago += 1) {
      const step = this.#step - ago
      if (step >= 0) sum += this.#counts[step % STEPS] ?? 0
    }
    return sum
  }

  #moveTo(now: number): void {
    const step = Math.floor(now / STEP_MS)
    if (step - this.#step >= STEPS) this.#counts.fill(0)
    else for (let it = this.#step + 1; it <= step; it += 1) this.#counts[it % STEPS] = 0
    this.#step = Math.max(this.#step, step)
  }
}

/** The time from recorded to shown, smoothed; it jumps up at once and comes down slowly. */
export class LagMeter {
  #lag: number | null = null

  get lag(): number | null {
    return this.#lag
  }

  add(recorded: string | null | undefined, shown: number): void {
    const at = recorded == null ? Number.NaN : Date.parse(recorded)
    if (Number.isNaN(at)) return
    const lag = Math.max(0, shown - at)
    this.#lag = this.#lag === null || lag > this.#lag ? lag : this.#lag * 0.8 + lag * 0.2
  }
}
