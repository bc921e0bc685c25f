/** The time and its timers, so that a program or a test can hand in its own. */

export type Undo = () => void

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number
  /** Calls *act* once, *ms* from now, unless undone. */
  after(ms: number, act: () => void): Undo
}

const LONGEST_MS = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => Date.now(),
  after(ms, act) {
    const timer = setTimeout(act, Math.min(Math.max(ms, 0), LONGEST_MS))
    return () => clearTimeout(timer)
  },
}
