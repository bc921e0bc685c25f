import assert from 'node:assert/strict'
import test from 'node:test'
import type { ClientFrame, ServerFrame } from '../../src/protocol/types.ts'
import { Session, type Effect } from '../../src/state/session.ts'
import { event, events } from '../events.ts'

const welcome: ServerFrame = {
  op: 'welcome',
  conn: 'c1',
  epoch: 'e',
  head: 9,
  ping_ms: 25_000,
  limits: {
    frame_bytes: 1,
    event_bytes: 1,
    subscriptions: 1,
    patterns: 1,
    publish_events: 1,
    window: 100,
  },
}
const sent = (effects: Effect[]): ClientFrame[] =>
  effects.flatMap((effect) => (effect.do === 'send' ? [effect.frame] : []))
const kinds = (effects: Effect[]): string[] => effects.map((effect) => effect.do)

/** A session whose first subscription, view-1, was granted. */
function open(): Session {
  const session = new Session()
  session.choose(['*'])
  session.receive(welcome)
  session.receive({ op: 'ok', id: 1, pos: 'e.9' })
  return session
}

test('patterns chosen before the connection are asked for after the welcome', () => {
  const session = new Session()
  assert.deepEqual(session.choose(['a.*']), [])
  assert.deepEqual(sent(session.receive(welcome)), [
    { op: 'sub', id: 1, sid: 'view-1', patterns: ['a.*'], window: 100, from: 'now' },
  ])
  assert.deepEqual(session.receive({ op: 'ok', id: 1, pos: 'e.9' }), [
    { do: 'opened', patterns: ['a.*'] },
  ])
})

test('a new connection resumes after the last cursor, whatever frame brought it', () => {
  for (const [frame, cursor] of [
    [{ op: 'pos', sid: 'view-1', cursor: 'e.12' }, 'e.12'],
    [{ op: 'ev', sid: 'view-1', events: [event(10)], cursor: 'e.11' }, 'e.11'],
    [{ op: 'gap', sid: 'view-1', from: 1, to: 2, cursor: 'e.3' }, 'e.3'],
    [{ op: 'reset', sid: 'view-1', message: 'm', cursor: 'f.0' }, 'f.0'],
    [{ op: 'ping' }, 'e.9'],
  ] as [ServerFrame, string][]) {
    const session = open()
    session.receive(frame)
    session.closed()
    const [sub] = sent(session.receive(welcome))
    assert.deepEqual(sub, {
      op: 'sub',
      id: 2,
      sid: 'view-1',
      patterns: ['*'],
      window: 100,
      after: cursor,
    })
    assert.deepEqual(session.receive({ op: 'ok', id: 2, pos: cursor }), [], 'the view goes on')
  }
})

test('other patterns take over when granted; until then the old view goes on', () => {
  const session = open()
  assert.deepEqual(kinds(session.choose(['b.*'])), ['send'])
  const old = session.receive({ op: 'ev', sid: 'view-1', events: [event(10)], cursor: 'e.10' })
  assert.deepEqual(kinds(old), ['events'])
  const effects = session.receive({ op: 'ok', id: 2, pos: 'e.10' })
  assert.deepEqual(effects, [
    { do: 'send', frame: { op: 'unsub', id: 3, sid: 'view-1' } },
    { do: 'opened', patterns: ['b.*'] },
  ])
  const late = session.receive({ op: 'ev', sid: 'view-1', events: [event(11)], cursor: 'e.11' })
  assert.deepEqual(late, [])
  assert.deepEqual(session.patterns, ['b.*'])
})

test('refused patterns are told, and the old view stays', () => {
  const session = open()
  session.choose(['a..b'])
  const message = 'pattern "a..b" has an empty token'
  assert.deepEqual(session.receive({ op: 'err', id: 2, code: 'invalid_pattern', message }), [
    { do: 'refused', patterns: ['a..b'], message },
  ])
  assert.deepEqual(session.patterns, ['*'])
  session.closed()
  assert.equal(sent(session.receive(welcome)).length, 1)
})

test('what was handed out is acknowledged, at the latest at a quarter of the window', () => {
  const session = open()
  const few = session.receive({ op: 'ev', sid: 'view-1', events: events(10, 20), cursor: 'e.20' })
  assert.deepEqual(kinds(few), ['events'])
  assert.deepEqual(sent(session.acknowledge()), [{ op: 'ack', sid: 'view-1', seq: 20 }])
  assert.deepEqual(session.acknowledge(), [])
  const many = session.receive({ op: 'ev', sid: 'view-1', events: events(21, 60), cursor: 'e.60' })
  assert.deepEqual(kinds(many), ['events', 'send'])
})

test('ephemeral events are handed out and need no acknowledgement', () => {
  const session = open()
  const frame: ServerFrame = { op: 'ev', sid: 'view-1', events: [event(null)], cursor: 'e.9' }
  assert.deepEqual(kinds(session.receive(frame)), ['events'])
  assert.deepEqual(session.acknowledge(), [])
})

test('nothing is acknowledged on a connection that did not bring it', () => {
  const session = open()
  session.receive({ op: 'ev', sid: 'view-1', events: [event(10)], cursor: 'e.10' })
  session.closed()
  assert.deepEqual(session.acknowledge(), [])
  session.receive(welcome)
  assert.deepEqual(session.acknowledge(), [])
})

test('a ping is answered', () => {
  assert.deepEqual(sent(open().receive({ op: 'ping' })), [{ op: 'pong' }])
})

test('gaps, drops and the catching up are told', () => {
  const session = open()
  const sid = 'view-1'
  const gap = session.receive({ op: 'gap', sid, from: 3, to: 8, cursor: 'e.8' })
  assert.deepEqual(gap, [{ do: 'gap', from: 3, to: 8 }])
  const lag = session.receive({ op: 'lag', sid, dropped: 4 })
  assert.deepEqual(lag, [{ do: 'dropped', count: 4 }])
  assert.deepEqual(session.receive({ op: 'live', sid }), [{ do: 'live' }])
})
