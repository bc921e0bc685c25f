import assert from 'node:assert/strict'
import test from 'node:test'
import {
  firstTry,
  isFinal,
  isRevoked,
  isSignedOut,
  isTrouble,
  lost,
  retry,
  secondsLeft,
  STEADY_MS,
  waitMs,
  welcomed,
  type Link,
} from '../../src/state/link.ts'

test('the bound of a wait doubles up to ten seconds, and all of the wait is chance', () => {
  assert.equal(waitMs(0, 1), 300)
  assert.equal(waitMs(1, 1), 600)
  assert.equal(waitMs(1, 0), 0)
  assert.equal(waitMs(30, 1), 10_000)
})

test('a loss is silent for two seconds, from the loss on, however often it is tried', () => {
  let link: Link = lost(welcomed(firstTry, 0), 1_000, 1)
  assert.equal(isTrouble(link, 2_999), false)
  assert.equal(isTrouble(link, 3_000), true)
  link = lost(retry(link), 1_400, 1)
  assert.equal(link.is === 'waiting' && link.downSince, 1_000)
  assert.equal(link.is === 'waiting' && link.attempt, 2)
  assert.equal(isTrouble(welcomed(link, 1_500), 9_999), false)
})

test('a connection that falls at once makes the waits longer, a steady one starts them anew', () => {
  let link = welcomed(firstTry, 0)
  for (const attempt of [1, 2, 3]) {
    link = lost(link, STEADY_MS - 1, 1)
    assert.equal(link.is === 'waiting' && link.attempt, attempt)
    link = welcomed(retry(link), 0)
  }
  link = lost(link, STEADY_MS, 1)
  assert.equal(link.is === 'waiting' && link.retryAt - STEADY_MS, 300)
})

test('a first try that fails counts from its failure', () => {
  assert.equal(isTrouble(firstTry, 1e9), false)
  const link = lost(firstTry, 5_000, 0)
  assert.equal(isTrouble(link, 7_000), true)
})

test('the countdown ends at nought, and there is none while trying', () => {
  const link = lost(firstTry, 0, 1)
  assert.equal(secondsLeft(link, 0), 1)
  assert.equal(secondsLeft(link, 9_000), 0)
  assert.equal(secondsLeft(retry(link), 0), null)
})

test('a refusal is not retried, but a person may ask for another try', () => {
  const ended: Link = { is: 'ended', code: 4502, reason: 'revoked' }
  assert.equal(lost(ended, 0, 0), ended)
  assert.deepEqual(retry(ended), firstTry)
  assert.deepEqual([4499, 4500, 4999, 5000, 1006].map(isFinal), [false, true, true, false, false])
})

test('a link that ended by its token asks for another one; only a taken token is news', () => {
  const ended = (code: number): Link => ({ is: 'ended', code, reason: '' })
  assert.deepEqual([4500, 4501, 4502].map((code) => isSignedOut(ended(code))), [false, true, true])
  assert.deepEqual([4500, 4501, 4502].map((code) => isRevoked(ended(code))), [false, false, true])
})
