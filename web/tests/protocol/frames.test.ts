import assert from 'node:assert/strict'
import test from 'node:test'
import { encodeFrame, parseFrame, ProtocolError } from '../../src/protocol/frames.ts'
import { joinPatterns, splitPatterns } from '../../src/protocol/patterns.ts'

test('a frame is one JSON object, told apart by op', () => {
  assert.equal(encodeFrame({ op: 'ack', sid: 'a', seq: 3 }), '{"op":"ack","sid":"a","seq":3}')
  assert.deepEqual(parseFrame('{"op":"ping"}'), { op: 'ping' })
})

test('a frame of a later version is passed over, names of Object included', () => {
  assert.equal(parseFrame('{"op":"sing"}'), null)
  assert.equal(parseFrame('{"op":"toString"}'), null)
})

test('what is no frame is refused, and cut short in the error', () => {
  for (const text of ['', '{', '[]', '7', 'null', `"${'x'.repeat(10_000)}"`]) {
    assert.throws(() => parseFrame(text), (error) => {
      assert(error instanceof ProtocolError)
      return error.message.length < 200
    })
  }
})

test('patterns are separated by commas; none means everything', () => {
  assert.deepEqual(splitPatterns(' worker.*, file.created ,,worker.* '), ['worker.*', 'file.created'])
  assert.deepEqual(splitPatterns('  '), ['*'])
  assert.deepEqual(splitPatterns('a b'), ['a b'], 'a blank inside is the server’s to refuse')
  assert.equal(joinPatterns(['*']), '')
  assert.equal(joinPatterns(['a', 'b.*']), 'a, b.*')
})
