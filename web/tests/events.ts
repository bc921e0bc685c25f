/** Events for tests. */
import type { Event } from '../src/protocol/types.ts'

export const event = (seq: number | null, more: Partial<Event> = {}): Event => ({
  ...(seq === null ? {} : { seq }),
  id: `id-${seq ?? Math.random()}`,
  topic: 'a.b',
  type: 'custom.event',
  source: 'urn:test',
  principal: 'admin',
  time: '2026-01-01T00:00:00Z',
  payload: null,
  ...more,
})

export const events = (from: number, to: number): Event[] =>
  Array.from({ length: to - from + 1 }, (_, at) => event(from + at))
