/** The HTTP side, as far as the page needs it. The cookie goes along by itself. */
import type { ActorInfo, EventPage, Problem, TopicInfo, WorkerInfo } from '../protocol/types.ts'

const TIMEOUT_MS = 15_000

/** The server answered with a problem; `code` is stable. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly status: number
  readonly code: string

  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

export interface PageQuery {
  readonly patterns: readonly string[]
  /** Only events before this seq; null: from the head back. */
  readonly before: number | null
  readonly limit: number
}

export class Api {
  readonly #base: string

  constructor(base = '') {
    this.#base = base
  }

  /** The newest events before a point, the newest first. */
  events(query: PageQuery): Promise<EventPage> {
    const params = new URLSearchParams({ order: 'desc', limit: String(query.limit) })
    for (const pattern of query.patterns) params.append('pattern', pattern)
    if (query.before !== null) params.set('before', String(query.before))
    return this.#get(`/v1/events?${params}`)
  }

  actors(): Promise<readonly ActorInfo[]> {
    return this.#get('/v1/actors')
  }

  workers(): Promise<readonly WorkerInfo[]> {
    return this.#get('/v1/workers')
  }

  topics(): Promise<readonly TopicInfo[]> {
    return this.#get('/v1/topics')
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
    const response = await this.#send(path, { headers: { accept: 'application/json' } })
    return (await response.json()) as T
  }

  async #send(path: string, init: RequestInit): Promise<Response> {
    const signal = AbortSignal.timeout(TIMEOUT_MS)
    const response = await fetch(this.#base + path, {
      ...init,
      signal,
      credentials: 'same-origin',
      cache: 'no-store',
    })
    if (!response.ok) throw await problemOf(response)
    return response
  }
}

async function problemOf(response: Response): Promise<ApiError> {
  try {
    const problem = (await response.json()) as Problem
    return new ApiError(response.status, problem.code, problem.detail)
  } catch {
    return new ApiError(response.status, 'unknown', `the server answered ${response.status}`)
  }
}
