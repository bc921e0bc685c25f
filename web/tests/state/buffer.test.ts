import assert from 'node:assert/strict'
import test from 'node:test'
import { EventBuffer } from '../../src/state/buffer.ts'
import { event, events } from '../events.ts'

const seqs = (buffer: EventBuffer): (number | string)[] =>
  buffer.rows.map((row) => (row.kind === 'event' ? (row.event.seq ?? 'ephemeral') : row.text))

test('an event that comes twice is shown once', () => {
  const buffer = new EventBuffer()
  assert.equal(buffer.append(events(1, 3)), 3)
  assert.equal(buffer.append(events(2, 4)), 1)
  assert.deepEqual(seqs(buffer), [1, 2, 3, 4])
})

test('a page of history and live events that overlap it make one list', () => {
  const buffer = new EventBuffer()
  buffer.append(events(5, 6))
  assert.equal(buffer.prepend(events(1, 8)), 4)
  buffer.append(events(7, 9))
  assert.deepEqual(seqs(buffer), [1, 2, 3, 4, 5, 6, 7, 8, 9])

  const other = new EventBuffer()
  other.prepend(events(1, 4))
  other.append(events(3, 6))
  assert.deepEqual(seqs(other), [1, 2, 3, 4, 5, 6])
})

test('ephemeral events have no seq and are all shown', () => {
  const buffer = new EventBuffer()
  buffer.append([event(1), event(null), event(null), event(2)])
  assert.deepEqual(seqs(buffer), [1, 'ephemeral', 'ephemeral', 2])
  assert.equal(buffer.oldest, 1)
})

test('rows keep their index when older ones come or go', () => {
  const buffer = new EventBuffer({ shown: 4, held: 4 })
  buffer.append(events(10, 12))
  const index = buffer.base + 1
  buffer.prepend([event(9)])
  assert.deepEqual(buffer.at(index), { kind: 'event', event: event(11) })
  buffer.append(events(13, 14))
  assert.deepEqual(seqs(buffer), [11, 12, 13, 14])
  assert.deepEqual(buffer.at(index), { kind: 'event', event: event(11) })
})

test('while held, new events wait and are counted; released, they join', () => {
  const buffer = new EventBuffer()
  buffer.append(events(1, 2))
  buffer.hold()
  buffer.append(events(2, 5))
  assert.deepEqual(seqs(buffer), [1, 2])
  assert.equal(buffer.waiting, 3)
  buffer.release()
  assert.deepEqual(seqs(buffer), [1, 2, 3, 4, 5])
  assert.equal(buffer.waiting, 0)
})

test('a hold longer than the memory leaves no hole: the newest stay, the older can be read back', () => {
  const buffer = new EventBuffer({ shown: 10, held: 3 })
  buffer.append(events(1, 5))
  buffer.hold()
  buffer.append(events(6, 20))
  assert.deepEqual(seqs(buffer), [1, 2, 3, 4, 5])
  assert.equal(buffer.waiting, 15)
  assert.equal(buffer.broken, true)
  buffer.release()
  assert.deepEqual(seqs(buffer), [18, 19, 20])
  assert.equal(buffer.oldest, 18)
  buffer.prepend(events(15, 17))
  assert.deepEqual(seqs(buffer), [15, 16, 17, 18, 19, 20])
})

test('reading far back lets go of the newest, and the way forward starts at the head', () => {
  const buffer = new EventBuffer({ shown: 5, held: 5 })
  buffer.append(events(11, 15))
  buffer.hold()
  buffer.prepend(events(8, 10))
  assert.deepEqual(seqs(buffer), [8, 9, 10, 11, 12])
  assert.equal(buffer.broken, true)
  buffer.release()
  assert.deepEqual(seqs(buffer), [])
  assert.equal(buffer.oldest, null)
  buffer.append(events(12, 15))
  assert.deepEqual(seqs(buffer), [], 'they were shown before: history brings them, not the feed')
  buffer.prepend(events(11, 15))
  assert.deepEqual(seqs(buffer), [11, 12, 13, 14, 15])
})

test('after a reset seqs start anew, and history behind it cannot be asked for', () => {
  const buffer = new EventBuffer({ shown: 4, held: 4 })
  buffer.append(events(1, 2))
  buffer.rewind('another log')
  assert.equal(buffer.canGoBack, false)
  buffer.append(events(1, 1))
  assert.deepEqual(seqs(buffer), [1, 2, 'another log', 1])
  buffer.append(events(2, 4))
  assert.equal(buffer.canGoBack, true, 'the reset itself has scrolled out')
})

test('it never keeps more than its limits', () => {
  const buffer = new EventBuffer({ shown: 100, held: 50 })
  for (let at = 1; at < 1_000; at += 7) {
    if (at % 5 === 0) buffer.hold()
    if (at % 11 === 0) buffer.release()
    buffer.append(events(at, at + 7))
    assert(buffer.rows.length <= 100)
  }
})

test('clear begins another view, and indices go on', () => {
  const buffer = new EventBuffer()
  buffer.append(events(5, 9))
  buffer.clear()
  assert.equal(buffer.base, 5)
  assert.equal(buffer.append(events(1, 2)), 2)
})
