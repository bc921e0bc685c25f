/**
 * When to connect, when to wait, and when to say so. Pure: time and chance are handed in.
 *
 * A lost connection is mended silently for two seconds; only then is it worth a word.
 */

export type Link =
  | { readonly is: 'connecting'; readonly attempt: number; readonly downSince: number | null }
  | { readonly is: 'open' }
  | {
      readonly is: 'waiting'
      readonly attempt: number
      readonly retryAt: number
      readonly downSince: number
    }
  | { readonly is: 'signed-out'; readonly message: string | null }
  | { readonly is: 'stopped'; readonly reason: string }

export const QUIET_MS = 2_000
const FIRST_WAIT_MS = 300
const LONGEST_WAIT_MS = 10_000

export const firstTry: Link = { is: 'connecting', attempt: 0, downSince: null }

/** How long to wait before try number *attempt*: doubling, with half of it left to chance (0–1). */
export function waitMs(attempt: number, chance: number): number {
  const full = Math.min(FIRST_WAIT_MS * 2 ** attempt, LONGEST_WAIT_MS)
  return full * (0.5 + chance / 2)
}

export function lost(link: Link, now: number, chance: number): Link {
  if (link.is === 'signed-out' || link.is === 'stopped') return link
  const attempt = link.is === 'open' ? 0 : link.attempt
  const downSince = link.is === 'open' ? now : (link.downSince ?? now)
  return { is: 'waiting', attempt, retryAt: now + waitMs(attempt, chance), downSince }
}

export function retry(link: Link): Link {
  if (link.is === 'stopped') return firstTry
  if (link.is !== 'waiting') return link
  return { is: 'connecting', attempt: link.attempt + 1, downSince: link.downSince }
}

/** Whether the server asked not to come back: close codes 4500 to 4999. */
export const isFinal = (code: number): boolean => code >= 4500 && code <= 4999

/** Whether the connection has been gone for long enough to say so. */
export function isTrouble(link: Link, now: number): boolean {
  if (link.is === 'stopped') return true
  const since = link.is === 'waiting' || link.is === 'connecting' ? link.downSince : null
  return since !== null && now - since >= QUIET_MS
}

/** Whole seconds until the next try, for the countdown; null while trying. */
export function secondsLeft(link: Link, now: number): number | null {
  return link.is === 'waiting' ? Math.max(0, Math.ceil((link.retryAt - now) / 1000)) : null
}
