import assert from 'node:assert/strict'
import test from 'node:test'
import { LagMeter, RateMeter } from '../../src/state/meters.ts'

test('the rate is that of the last two seconds', () => {
  const meter = new RateMeter()
  for (let at = 100_000; at < 102_000; at += 10) meter.add(100, at)
  assert.equal(meter.rate(102_000), 10_000)
  assert.equal(meter.rate(103_000), 5_000)
  assert.equal(meter.rate(105_000), 0)
  assert.equal(meter.rate(1e9), 0)
  assert.equal(meter.total, 20_000)
})

test('the history has one number a second, the newest last', () => {
  const meter = new RateMeter()
  meter.add(5, 100_100)
  meter.add(7, 101_100)
  assert.deepEqual(meter.history(102_000, 3), [0, 5, 7])
})

test('lag rises at once, falls slowly, and is never negative', () => {
  const meter = new LagMeter()
  assert.equal(meter.lag, null)
  const at = Date.parse('2026-01-01T00:00:00Z')
  meter.add('2026-01-01T00:00:00Z', at - 50)
  assert.equal(meter.lag, 0)
  meter.add('2026-01-01T00:00:00Z', at + 500)
  assert.equal(meter.lag, 500)
  meter.add('2026-01-01T00:00:00Z', at)
  assert.equal(meter.lag, 400)
  meter.add(null, at)
  meter.add('nonsense', at)
  assert.equal(meter.lag, 400)
})
