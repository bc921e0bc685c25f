import assert from 'node:assert/strict'
import test from 'node:test'
import { firstTry, isTrouble, lost, retry, secondsLeft, waitMs, type Link } from '../../src/state/link.ts'

test('the waits double, stay within ten seconds, and half of each is chance', () => {
  assert.equal(waitMs(0, 1), 300)
  assert.equal(waitMs(1, 1), 600)
  assert.equal(waitMs(1, 0), 300)
  assert.equal(waitMs(30, 1), 10_000)
})

test('a loss is silent for two seconds, from the loss on, however often it is tried', () => {
  let link: Link = lost({ is: 'open' }, 1_000, 1)
  assert.equal(isTrouble(link, 2_999), false)
  assert.equal(isTrouble(link, 3_000), true)
  link = lost(retry(link), 1_400, 1)
  assert.equal(link.is === 'waiting' && link.downSince, 1_000)
  assert.equal(link.is === 'waiting' && link.attempt, 1)
  assert.equal(isTrouble({ is: 'open' }, 9_999), false)
})

test('a first try that fails counts from its failure', () => {
  assert.equal(isTrouble(firstTry, 1e9), false)
  const link = lost(firstTry, 5_000, 0)
  assert.equal(isTrouble(link, 7_000), true)
})

test('the countdown ends at nought, and there is none while trying', () => {
  const link = lost({ is: 'open' }, 0, 1)
  assert.equal(secondsLeft(link, 0), 1)
  assert.equal(secondsLeft(link, 9_000), 0)
  assert.equal(secondsLeft(retry(link), 0), null)
})

test('a refusal is not retried', () => {
  const out: Link = { is: 'signed-out', message: null }
  assert.equal(lost(out, 0, 0), out)
  assert.equal(retry(out), out)
  const stopped: Link = { is: 'stopped', reason: 'too old' }
  assert.equal(lost(stopped, 0, 0), stopped)
  assert.deepEqual(retry(stopped), firstTry, 'but a person may ask for another try')
})
