import assert from 'node:assert/strict'
import test from 'node:test'
import { BusError } from '../../src/protocol/errors.ts'
import type { Pub, Published } from '../../src/protocol/types.ts'
import { Outbox, utf8Length, type Entry } from '../../src/state/outbox.ts'
import { LIMITS } from '../frames.ts'

const entry = (ticket: number, more: Partial<Entry> = {}): Entry => ({
  ticket,
  event: { topic: 'a', id: `id-${ticket}` },
  level: null,
  bytes: 100,
  ...more,
})
const published = (ticket: number): Published => ({ id: `id-${ticket}`, seq: ticket })
const ids = (frame: Pub | undefined): (string | null | undefined)[] =>
  frame?.events.map(({ id }) => id) ?? []

function counter(): () => number {
  let last = 0
  return () => (last += 1)
}

test('what was not answered when the connection fell is sent again, first and in order', () => {
  const outbox = new Outbox()
  const nextId = counter()
  outbox.add(entry(1))
  outbox.flush(nextId, LIMITS, 0)
  outbox.add(entry(2))
  outbox.flush(nextId, LIMITS, 0)
  outbox.lost()
  outbox.add(entry(3))
  const { frames } = outbox.flush(nextId, LIMITS, 0)
  assert.deepEqual(frames.map(ids), [['id-1', 'id-2', 'id-3']])
  const settled = outbox.answered(frames[0]?.id ?? 0, [1, 2, 3].map(published), 0)
  assert.deepEqual(settled.map(({ ticket }) => ticket), [1, 2, 3])
  assert.equal(outbox.size, 0)
})

test('an answer of an earlier connection settles nothing', () => {
  const outbox = new Outbox()
  outbox.add(entry(1))
  const { frames } = outbox.flush(counter(), LIMITS, 0)
  outbox.lost()
  assert.deepEqual(outbox.answered(frames[0]?.id ?? 0, [published(1)], 0), [])
  assert.equal(outbox.size, 1)
})

test('what the server had no room for is tried again when it said, and before what is later', () => {
  const outbox = new Outbox()
  const nextId = counter()
  outbox.add(entry(1))
  outbox.add(entry(2, { level: 'none' }))
  const { frames } = outbox.flush(nextId, LIMITS, 0)
  const full = { code: 'overloaded', message: 'full', retry_after_ms: 700 }
  for (const frame of frames) {
    assert.deepEqual(outbox.answered(frame.id, [{ id: null, error: full }], 1_000), [])
  }
  outbox.add(entry(3, { level: 'none' }))
  assert.equal(outbox.deadline, 1_700)
  assert.deepEqual(outbox.flush(nextId, LIMITS, 1_699).frames, [])
  const again = outbox.flush(nextId, LIMITS, 1_700).frames
  assert.deepEqual(again.map(ids), [['id-1'], ['id-2', 'id-3']])
})

test('a refusal that another try would not mend is told at once', () => {
  const outbox = new Outbox()
  outbox.add(entry(1))
  outbox.add(entry(2))
  const { frames } = outbox.flush(counter(), LIMITS, 0)
  const wrong = { code: 'wrong_expected_seq', message: 'went on', last_seq: 7 }
  const settled = outbox.answered(frames[0]?.id ?? 0, [{ id: null, error: wrong }, published(2)], 0)
  const [first, second] = settled.map(({ result }) => result)
  assert(first instanceof BusError)
  assert(first.failure.code === 'wrong_expected_seq')
  assert.equal(first.failure.lastSeq, 7)
  assert.deepEqual(second, published(2))
})

test('so many wait and no more: the error says which bound, and nothing was taken', () => {
  const outbox = new Outbox({ events: 2, bytes: 250 })
  outbox.add(entry(1))
  assert.throws(() => outbox.add(entry(2, { bytes: 151 })), /251 bytes would wait, at most 250 may/)
  outbox.add(entry(2))
  assert.throws(
    () => outbox.add(entry(3, { bytes: 1 })),
    (error) => error instanceof BusError && error.code === 'queue_full' && error.limit === 2,
  )
  const { frames } = outbox.flush(counter(), LIMITS, 0)
  assert.throws(() => outbox.add(entry(3, { bytes: 1 })), /2 events wait/, 'sent ones count too')
  outbox.answered(frames[0]?.id ?? 0, [published(1), published(2)], 0)
  outbox.add(entry(3))
})

test('a frame stays within the limits of the server, and 1,000 events are on their way at most', () => {
  const outbox = new Outbox()
  const nextId = counter()
  for (let ticket = 1; ticket <= 1_500; ticket += 1) outbox.add(entry(ticket))
  const { frames } = outbox.flush(nextId, { ...LIMITS, publish_events: 400 }, 0)
  assert.deepEqual(frames.map(({ events }) => events.length), [400, 400, 200])
  assert.equal(outbox.deadline, Infinity)
  outbox.answered(1, Array.from({ length: 400 }, (_, at) => published(at)), 0)
  const next = outbox.flush(nextId, { ...LIMITS, frame_bytes: 20_000 }, 0).frames
  assert.deepEqual(next.map(({ events }) => events.length), [195, 195, 10])
})

test('an event that fits into no frame is refused here: sent, it would end every connection', () => {
  const outbox = new Outbox()
  outbox.add(entry(1, { bytes: LIMITS.frame_bytes }))
  outbox.add(entry(2))
  const { frames, settled } = outbox.flush(counter(), LIMITS, 0)
  assert.deepEqual(frames.map(ids), [['id-2']])
  const result = settled[0]?.result
  assert(result instanceof BusError && result.code === 'payload_too_large')
})

test('the bytes of a text are those of its UTF-8', () => {
  for (const text of ['', 'abc', 'äöü', '€', '😀', 'a😀€é']) {
    assert.equal(utf8Length(text), new TextEncoder().encode(text).length)
  }
})
