/**
 * Building the client's frames and reading the server's. Text in, frames out; no socket here.
 */
import type { ClientFrame, ServerFrame } from './types.ts'

/** Every `op` the server may send; the compiler checks that none is missing or made up. */
const SERVER_OPS: Record<ServerFrame['op'], true> = {
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

export function encodeFrame(frame: ClientFrame): string {
  return JSON.stringify(frame)
}

/** Reads one frame; gives null for an `op` of a later version, which is to be passed over. */
export function parseFrame(text: string): ServerFrame | null {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new ProtocolError(`not JSON: ${text.slice(0, 80)}`)
  }
  if (typeof value !== 'object' || value === null || !('op' in value)) {
    throw new ProtocolError(`a frame without op: ${text.slice(0, 80)}`)
  }
  return Object.hasOwn(SERVER_OPS, String(value.op)) ? (value as ServerFrame) : null
}
