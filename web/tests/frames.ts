/** Frames of a server, for tests. */
import type { Limits, ServerFrame } from '../src/protocol/types.ts'

export const LIMITS: Limits = {
  frame_bytes: 1_048_576,
  event_bytes: 262_144,
  subscriptions: 128,
  patterns: 32,
  publish_events: 1_000,
  window: 10_000,
}

export const welcome = (limits: Partial<Limits> = {}): ServerFrame => ({
  op: 'welcome',
  conn: 'c1',
  epoch: 'e',
  head: 9,
  ping_ms: 25_000,
  limits: { ...LIMITS, ...limits },
})
