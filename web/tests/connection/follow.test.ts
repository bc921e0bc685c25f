import assert from 'node:assert/strict'
import test from 'node:test'
import { Follow } from '../../src/connection/follow.ts'
import { BusError } from '../../src/protocol/errors.ts'
import { events } from '../events.ts'

test('a batch counts as consumed when what follows it is asked for', async () => {
  const follow = new Follow()
  follow.bind(() => {})
  let consumed = false
  void follow.take(events(1, 2)).then(() => (consumed = true))
  assert.equal((await follow.next()).value?.seq, 1)
  assert.equal((await follow.next()).value?.seq, 2)
  assert.equal(consumed, false)
  const third = follow.next()
  await Promise.resolve()
  assert.equal(consumed, true)
  void follow.take(events(3, 3))
  assert.equal((await third).value?.seq, 3)
})

test('leaving the loop ends the subscription', async () => {
  const follow = new Follow()
  let ended = 0
  follow.bind(() => (ended += 1))
  void follow.take(events(1, 5))
  for await (const event of follow) if (event.seq === 2) break
  assert.equal(ended, 1)
  assert.deepEqual(await follow.next(), { done: true, value: undefined })
})

test('missing events are an error to the reader, unless notices are heard', async () => {
  const gap = { is: 'gap', from: 3, to: 8, cursor: 'e.8' } as const
  const strict = new Follow()
  strict.bind(() => {})
  const next = strict.next()
  strict.notice(gap)
  await assert.rejects(next, (error) => {
    assert(error instanceof BusError && error.failure.code === 'gap')
    return error.failure.to === 8
  })
  assert.equal((await strict.next()).done, true)

  const heard: string[] = []
  const lenient = new Follow((notice) => heard.push(notice.is))
  lenient.notice(gap)
  void lenient.take(events(9, 9))
  assert.equal((await lenient.next()).value?.seq, 9)
  assert.deepEqual(heard, ['gap'])
})
