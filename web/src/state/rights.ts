/** What a token may look at; the server decides, this only keeps the page from asking in vain. */

import type { TokenInfo } from '../protocol/types.ts'

const NEEDED = { actors: ['admin'], workers: ['admin', 'worker'] }

/** Whether one of the roles that the list needs is there; yes while nothing is known. */
export function mayList(me: TokenInfo | null, what: keyof typeof NEEDED): boolean {
  return me === null || me.roles.some((role) => NEEDED[what].includes(role))
}
