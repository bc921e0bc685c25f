/**
 * Building the client's frames and reading the server's. Text in, frames out; no socket here.
 */
import type { ClientFrame, Ev, ServerFrame, Sub } from './types.ts'

/** `sub` of a durable subscription, held alone (`durable`) or with others (`group`). */
export type Subscribe = Sub & {
  readonly durable?: string | null
  readonly group?: string | null
  readonly member?: string | null
}

/** Gives one event of a durable subscription back: it comes again, or is given up. */
export interface GiveBack {
  readonly op: 'nack'
  readonly sid: string
  readonly seq: number
  /** Absent: the server waits longer with each failure. */
  readonly delay_ms?: number | null
  readonly reason?: string
}

/** Puts another token in place of the one of this connection. */
export interface NewToken {
  readonly op: 'refresh'
  readonly id: number
  readonly token: string
}

/** `ev` of a durable subscription may say how often each event has been tried. */
export type Events = Ev & { readonly attempts?: readonly number[] | null }

/** A subscription brings nothing more, and its sid is free. */
export interface SubscriptionEnded {
  readonly op: 'ended'
  readonly sid: string
  readonly code: string
  readonly message: string
}

export type Incoming = ServerFrame | SubscriptionEnded

export type Outgoing = ClientFrame | Subscribe | GiveBack | NewToken

/** Every `op` the server may send; the compiler checks that none is missing or made up. */
const SERVER_OPS: Record<Incoming['op'], true> = {
  welcome: true,
  ok: true,
  err: true,
  ev: true,
  pos: true,
  gap: true,
  reset: true,
  lag: true,
  live: true,
  ended: true,
  ping: true,
  bye: true,
}

/** The server sent something that is no frame of this protocol. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
}

export function encodeFrame(frame: Outgoing): string {
  return JSON.stringify(frame)
}

/** Reads one frame; gives null for an `op` of a later version, which is to be passed over. */
export function parseFrame(text: string): Incoming | null {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new ProtocolError(`not JSON: ${text.slice(0, 80)}`)
  }
  if (typeof value !== 'object' || value === null || !('op' in value)) {
    throw new ProtocolError(`a frame without op: ${text.slice(0, 80)}`)
  }
  return Object.hasOwn(SERVER_OPS, String(value.op)) ? (value as Incoming) : null
}
