/** What the page's address carries: the filter, and once, in its fragment, the token. */

const FILTER = 'filter'

export const readFilter = (): string => new URLSearchParams(location.search).get(FILTER) ?? ''

export function writeFilter(text: string): void {
  const url = new URL(location.href)
  if (text === (url.searchParams.get(FILTER) ?? '')) return
  if (text === '') url.searchParams.delete(FILTER)
  else url.searchParams.set(FILTER, text)
  history.replaceState(null, '', url)
}

/** Takes the token out of the address, so that no history, bookmark or screen keeps it. */
export function takeToken(): string {
  const token = new URLSearchParams(location.hash.slice(1)).get('token') ?? ''
  if (token !== '') history.replaceState(null, '', location.pathname + location.search)
  return token
}
