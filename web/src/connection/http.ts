/** The HTTP side. A token goes along with each request; without one, the page's cookie does. */
import { BusError, errorFrom } from '../protocol/errors.ts'
import type {
  ActorInfo,
  EventPage,
  Problem,
  TokenInfo,
  TopicInfo,
  WorkerInfo,
} from '../protocol/types.ts'

const TIMEOUT_MS = 15_000

/** Which stored events, and in what order; see the server's `GET /v1/events`. */
export interface Query {
  /** Everything if absent. */
  readonly patterns?: readonly string[]
  readonly order?: 'asc' | 'desc'
  /** A cursor or a seq: with `asc`, events after it; */
  readonly after?: string | number
  /** with `desc`, events before it. */
  readonly before?: string | number
  /** Bounds of the time of recording, by RFC 3339 with an offset. */
  readonly since?: string
  readonly until?: string
  readonly type?: string
  readonly source?: string
  readonly correlation_id?: string
  /** 1 to 500; 100 if absent. */
  readonly limit?: number
}

export interface ApiOptions {
  /** Where the server is; the page's own origin if empty. */
  readonly base?: string
  readonly token?: () => string | null
  readonly fetch?: typeof fetch
}

export class Api {
  readonly #base: string
  readonly #token: () => string | null
  readonly #fetch: typeof fetch

  constructor(options: ApiOptions = {}) {
    this.#base = options.base ?? ''
    this.#token = options.token ?? (() => null)
    this.#fetch = options.fetch ?? ((...request) => fetch(...request))
  }

  query(query: Query = {}): Promise<EventPage> {
    const { patterns = [], ...rest } = query
    const params = new URLSearchParams(patterns.map((pattern) => ['pattern', pattern]))
    for (const [name, value] of Object.entries(rest)) params.set(name, String(value))
    return this.#get(`/v1/events?${params}`)
  }

  actors(): Promise<readonly ActorInfo[]> {
    return this.#get('/v1/actors')
  }

  workers(): Promise<readonly WorkerInfo[]> {
    return this.#get('/v1/workers')
  }

  topics(patterns: readonly string[] = []): Promise<readonly TopicInfo[]> {
    const params = new URLSearchParams(patterns.map((pattern) => ['pattern', pattern]))
    return this.#get(`/v1/topics?${params}`)
  }

  /** Whose token this is, and what it opens. */
  me(): Promise<TokenInfo> {
    return this.#get('/v1/me')
  }

  /** Exchanges the token for a cookie that no script can read. */
  async login(token: string): Promise<void> {
    await this.#send('/v1/login', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-antiphon': '1' },
      body: JSON.stringify({ token }),
    })
  }

  async #get<T>(path: string): Promise<T> {
    const token = this.#token()
    const headers = { accept: 'application/json', ...(token && { authorization: `Bearer ${token}` }) }
    const response = await this.#send(path, { headers })
    return (await response.json()) as T
  }

  async #send(path: string, init: RequestInit): Promise<Response> {
    const response = await this.#ask(path, {
      ...init,
      signal: AbortSignal.timeout(TIMEOUT_MS),
      credentials: 'same-origin',
      cache: 'no-store',
    })
    if (!response.ok) throw await problemOf(response)
    return response
  }

  async #ask(path: string, init: RequestInit): Promise<Response> {
    try {
      return await this.#fetch(this.#base + path, init)
    } catch {
      throw new BusError('the server cannot be reached', { code: 'unreachable' })
    }
  }
}

async function problemOf(response: Response): Promise<BusError> {
  const { status } = response
  try {
    const problem = (await response.json()) as Problem
    const { code, from, to, cursor } = problem
    const told = { ...problem, message: problem.detail }
    if (code === 'gap' && from != null && to != null && cursor != null) {
      return new BusError(problem.detail, { code, from, to, cursor })
    }
    if (code === 'reset' && cursor != null) return new BusError(problem.detail, { code, cursor })
    return errorFrom(told, status)
  } catch {
    return new BusError(`the server answered ${status}`, { code: 'unknown', status })
  }
}
