/**
 * When to connect, when to wait, and when to say so. Pure: time and chance are handed in.
 *
 * A lost connection is mended silently for two seconds; only then is it worth a word.
 */

export type Link =
  | { readonly is: 'connecting'; readonly attempt: number; readonly downSince: number | null }
  | { readonly is: 'live'; readonly attempt: number; readonly since: number }
  | {
      readonly is: 'waiting'
      readonly attempt: number
      readonly retryAt: number
      readonly downSince: number
    }
  /** It does not connect again by itself: the server asked not to, or this client was closed. */
  | { readonly is: 'ended'; readonly code: number; readonly reason: string }

export const QUIET_MS = 2_000
/** A connection that lasted as long starts the waits anew; one that falls at once does not. */
export const STEADY_MS = 5_000
const FIRST_WAIT_MS = 300
const LONGEST_WAIT_MS = 10_000
const UNAUTHORIZED = 4501
const REVOKED = 4502

export const firstTry: Link = { is: 'connecting', attempt: 0, downSince: null }

/** How long to wait after *attempt* failed tries: any part (0–1) of a bound that doubles. */
export function waitMs(attempt: number, chance: number): number {
  return Math.min(FIRST_WAIT_MS * 2 ** attempt, LONGEST_WAIT_MS) * chance
}

export function welcomed(link: Link, now: number): Link {
  return { is: 'live', attempt: link.is === 'connecting' ? link.attempt : 0, since: now }
}

export function lost(link: Link, now: number, chance: number): Link {
  if (link.is === 'ended') return link
  const steady = link.is === 'live' && now - link.since >= STEADY_MS
  const attempt = steady ? 0 : link.attempt
  const downSince = link.is === 'live' ? now : (link.downSince ?? now)
  const retryAt = now + waitMs(attempt, chance)
  return { is: 'waiting', attempt: attempt + 1, retryAt, downSince }
}

export function retry(link: Link): Link {
  if (link.is === 'ended') return firstTry
  if (link.is !== 'waiting') return link
  return { is: 'connecting', attempt: link.attempt, downSince: link.downSince }
}

/** Whether the server asked not to come back: close codes 4500 to 4999. */
export const isFinal = (code: number): boolean => code >= 4500 && code <= 4999

/** Whether it ended because of its token: none, an unknown one, or one that was taken away. */
export const isSignedOut = (link: Link): boolean =>
  link.is === 'ended' && (link.code === UNAUTHORIZED || link.code === REVOKED)

/** Whether the token worked until now: its end is then worth a word. */
export const isRevoked = (link: Link): boolean => link.is === 'ended' && link.code === REVOKED

/** Whether the connection has been gone for long enough to say so. */
export function isTrouble(link: Link, now: number): boolean {
  if (link.is === 'ended') return true
  const since = link.is === 'live' ? null : link.downSince
  return since !== null && now - since >= QUIET_MS
}

/** Whole seconds until the next try, for the countdown; null while trying. */
export function secondsLeft(link: Link, now: number): number | null {
  return link.is === 'waiting' ? Math.max(0, Math.ceil((link.retryAt - now) / 1000)) : null
}
