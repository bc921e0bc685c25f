import assert from 'node:assert/strict'
import test from 'node:test'
import { duration, family, isBad, leaf, plural, prettyJson, preview, rate, stem, visible } from '../../src/state/text.ts'

test('a preview is one line, whatever the payload', () => {
  assert.equal(preview(null), '')
  assert.equal(preview('hi'), 'hi')
  assert.equal(preview(7), '7')
  assert.equal(preview([1, 2]), '[1,2]')
  assert.equal(preview({ path: 'a.py', size_bytes: 3 }), 'path "a.py"  size_bytes 3')
  assert.equal(preview({}), '{}')
  assert.equal(preview('a\nb'), 'a\\u000ab')
  assert(preview({ a: 'x'.repeat(1e6) }).length <= 240)
})

test('what a worker wrote stands as it was written', () => {
  assert.equal(preview({ stream: 'stdout', lines: ['a "b"', 'c'] }, 'worker_progress'), 'a "b" ⏎ c')
  assert.equal(preview({ lines: 17 }, 'worker_progress'), 'lines 17')
  assert.equal(preview({ lines: ['a'] }, 'custom.event'), 'lines ["a"]')
  assert(preview({ lines: Array(500).fill('x'.repeat(500)) }, 'worker_progress').length <= 240)
})

test('marks that hide or turn text round are shown as escapes', () => {
  assert.equal(visible('a\u202egpj.exe'), 'a\\u202egpj.exe')
  assert.equal(visible('naïve 漢字 🙂'), 'naïve 漢字 🙂')
})

test('pretty JSON loses nothing, and keys stand apart from strings', () => {
  const value = { 'k"ey': ['<b>', -1.5e10, true, null, { a: 'b: "c"' }], empty: {} }
  const pieces = prettyJson(value)
  assert.equal(pieces.map((piece) => piece.text).join(''), JSON.stringify(value, null, 2))
  const keys = pieces.filter((piece) => piece.kind === 'key').map((piece) => piece.text)
  assert.deepEqual(keys, ['"k\\"ey":', '"a":', '"empty":'])
  assert.deepEqual(pieces.find((piece) => piece.kind === 'number')?.text, '-15000000000')
})

test('a huge payload is one piece', () => {
  assert.equal(prettyJson('x'.repeat(100_000)).length, 1)
})

test('the first token gives a topic its colour, always the same', () => {
  assert.equal(family('worker.a.b'), 'worker')
  assert.equal(family('_sys.audit.denied'), 'system')
  assert.equal(family('constructor'), family('constructor.x'))
})

test('numbers are said shortly', () => {
  assert.equal(rate(0), '0')
  assert.equal(rate(0.5), '0.5')
  assert.equal(rate(12_345.6), '12,346')
  assert.equal(duration(12.4), '12 ms')
  assert.equal(duration(1_500), '1.5 s')
  assert.equal(duration(7_300_000), '2 h')
  assert.equal(plural(1, 'event'), '1 event')
  assert.equal(plural(2_000, 'event'), '2,000 events')
})

test('failures are known by their type', () => {
  assert.equal(isBad('worker_failed'), true)
  assert.equal(isBad('system_error'), true)
  assert.equal(isBad('custom.terror'), false)
})

test('a topic is cut in the middle: its last token stands apart', () => {
  for (const topic of ['worker.build.progress', 'a', 'a.b', '.x']) assert.equal(stem(topic) + leaf(topic), topic)
  assert.equal(leaf('worker.build.progress'), '.progress')
  assert.equal(leaf('hello'), '')
})
