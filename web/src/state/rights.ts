/** What a token may look at; the server decides, this only keeps the page from asking in vain. */

/** Whose token this is, as `GET /v1/me` answers. */
export interface Me {
  readonly name: string
  readonly roles: readonly string[]
  readonly pub: readonly string[]
  readonly sub: readonly string[]
  readonly deny: readonly string[]
  readonly expires?: string | null
}

/** Who one is at a server that knows the admin token alone. */
export const ADMIN: Me = {
  name: 'admin',
  roles: ['admin'],
  pub: ['*'],
  sub: ['*', '_sys.*'],
  deny: [],
}

const NEEDED = { actors: ['admin'], workers: ['admin', 'worker'] }

/** Whether one of the roles that the list needs is there; yes while nothing is known. */
export function mayList(me: Me | null, what: keyof typeof NEEDED): boolean {
  return me === null || me.roles.some((role) => NEEDED[what].includes(role))
}
