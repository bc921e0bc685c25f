/** What can go wrong, by the stable `code` that the server uses, and a few of the client's own. */
import type { Err, Fault } from './types.ts'

/** Why something failed; `code` tells what else is known. */
export type Failure =
  | { readonly code: 'overloaded' | 'storage_unavailable'; readonly retryAfterMs: number }
  | { readonly code: 'wrong_expected_seq'; readonly lastSeq: number | null }
  | { readonly code: 'gap'; readonly from: number; readonly to: number; readonly cursor: string }
  | { readonly code: 'reset'; readonly cursor: string }
  /** Too much waits in this client already: *limit* events or bytes. Nothing was sent. */
  | { readonly code: 'queue_full'; readonly limit: number }
  /** This client was closed, or the server asked it not to come back. */
  | { readonly code: 'closed'; readonly closeCode: number }
  /** The server could not be asked, or did not answer in time. */
  | { readonly code: 'unreachable' }
  | { readonly code: Plain; readonly status?: number }

export type Plain =
  | 'bad_request'
  | 'invalid_topic'
  | 'invalid_pattern'
  | 'invalid_payload'
  | 'invalid_schema'
  | 'payload_too_large'
  | 'unauthorized'
  | 'forbidden'
  | 'not_found'
  | 'id_conflict'
  | 'lease_held'
  | 'lease_lost'
  | 'durable_stopped'
  | 'internal'
  | 'unknown'

export type Code = Failure['code']

/** The one error of this client. Look at `failure.code`: the compiler then knows the rest. */
export class BusError extends Error {
  override readonly name = 'BusError'
  readonly failure: Failure
  /** What was refused, cut short, and the bound that was hit, where there is one. */
  readonly value: string | null
  readonly limit: number | null

  constructor(message: string, failure: Failure, value?: string | null, limit?: number | null) {
    super(message)
    this.failure = failure
    this.value = value ?? null
    this.limit = limit ?? null
  }

  get code(): Code {
    return this.failure.code
  }
}

const LEASE_MS = 1_000
const RETRY_MS = { overloaded: 100, storage_unavailable: 1_000 }

type Told = Pick<Fault, 'code' | 'message' | 'value' | 'limit' | 'retry_after_ms' | 'last_seq'>

/** The error that the server meant by an `err` frame, a refused event or a problem. */
export function errorFrom(told: Told | Err, status?: number): BusError {
  return new BusError(told.message, failureOf(told, status), told.value, told.limit)
}

function failureOf(told: Told, status?: number): Failure {
  const { code } = told
  if (code === 'overloaded' || code === 'storage_unavailable') {
    return { code, retryAfterMs: told.retry_after_ms ?? RETRY_MS[code] }
  }
  if (code === 'wrong_expected_seq') return { code, lastSeq: told.last_seq ?? null }
  return status === undefined ? { code: code as Plain } : { code: code as Plain, status }
}

/** Whether the same request may succeed later, and after how many milliseconds. */
export function retryAfter(error: BusError): number | null {
  const { failure } = error
  if (failure.code === 'lease_held' || failure.code === 'lease_lost') return LEASE_MS
  return 'retryAfterMs' in failure ? failure.retryAfterMs : null
}

export const closedError = (why: string, closeCode: number): BusError =>
  new BusError(why, { code: 'closed', closeCode })
