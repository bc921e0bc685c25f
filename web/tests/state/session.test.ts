import assert from 'node:assert/strict'
import test from 'node:test'
import type { ClientFrame, Ev, ServerFrame } from '../../src/protocol/types.ts'
import type { Ask } from '../../src/state/reader.ts'
import { Session, type Effect } from '../../src/state/session.ts'
import { event, events } from '../events.ts'
import { welcome } from '../frames.ts'

const sent = (effects: readonly Effect[]): ClientFrame[] =>
  effects.flatMap((effect) => (effect.do === 'send' ? [effect.frame] : []))
const kinds = (effects: readonly Effect[]): string[] =>
  effects.map((effect) => (effect.do === 'tell' ? effect.notice.is : effect.do))
const FINE = { ok: true, back: new Map<number, number>() } as const
const sid = 'sub-1'
const ev = (from: number, to: number): Ev => ({
  op: 'ev',
  sid,
  events: events(from, to),
  cursor: `e.${to}`,
})

/** A session whose first subscription, sub-1, was granted as request 1. */
function open(ask: Partial<Ask> = {}): Session {
  const session = new Session('secret')
  session.subscribe({ patterns: ['*'], window: 100, ...ask }, 0)
  session.receive(welcome(), 0)
  session.receive({ op: 'ok', id: 1, pos: 'e.9' }, 0)
  return session
}

test('a connection begins with the token, and by a cookie without', () => {
  const hello = { op: 'hello', v: 1 }
  assert.deepEqual(sent(new Session('secret').opened(0)), [{ ...hello, token: 'secret' }])
  assert.deepEqual(sent(new Session().opened(0)), [hello])
})

test('what was asked for before the connection is asked for after the welcome', () => {
  const session = new Session()
  assert.deepEqual(session.subscribe({ patterns: ['a.*'], narrow: true }, 0).effects, [])
  assert.deepEqual(sent(session.receive(welcome({ window: 100 }), 0)), [
    { op: 'sub', id: 1, sid, patterns: ['a.*'], window: 100, from: 'now', narrow: true },
  ])
  const effects = session.receive({ op: 'ok', id: 1, pos: 'e.9', effective: ['a.b'] }, 0)
  const notice = { is: 'opened', patterns: ['a.b'], cursor: 'e.9' }
  assert.deepEqual(effects, [{ do: 'tell', sid, notice }])
})

test('a new connection resumes after the last cursor, whatever frame brought it', () => {
  for (const [frame, cursor] of [
    [{ op: 'pos', sid, cursor: 'e.12' }, 'e.12'],
    [{ op: 'ev', sid, events: [event(10)], cursor: 'e.11' }, 'e.11'],
    [{ op: 'gap', sid, from: 1, to: 2, cursor: 'e.3' }, 'e.3'],
    [{ op: 'reset', sid, message: 'm', cursor: 'f.0' }, 'f.0'],
    [{ op: 'ping' }, 'e.9'],
  ] as [ServerFrame, string][]) {
    const session = open()
    session.receive(frame, 0)
    session.handled(sid, FINE, 0)
    session.lost()
    const [sub] = sent(session.receive(welcome(), 0))
    assert.deepEqual(sub, { op: 'sub', id: 2, sid, patterns: ['*'], window: 100, after: cursor })
    const again = session.receive({ op: 'ok', id: 2, pos: cursor }, 0)
    assert.deepEqual(again, [], 'it goes on without a word')
  }
})

test('a subscription that was never granted begins where it was told to, once more', () => {
  const session = new Session()
  session.subscribe({ patterns: ['*'], start: 'last' }, 0)
  session.receive(welcome(), 0)
  session.lost()
  const [sub] = sent(session.receive(welcome(), 0))
  assert(sub?.op === 'sub')
  assert.equal(sub.from, 'last')
})

test('one batch is with the handler at a time, and notices keep their place between', () => {
  const session = open()
  assert.deepEqual(kinds(session.receive(ev(10, 12), 0)), ['hand'])
  assert.deepEqual(session.receive({ op: 'gap', sid, from: 13, to: 14, cursor: 'e.14' }, 0), [])
  assert.deepEqual(session.receive(ev(15, 16), 0), [])
  assert.deepEqual(kinds(session.handled(sid, FINE, 0)), ['gap', 'hand'])
})

test('nothing is acknowledged before its handler has ended, and then soon', () => {
  const session = open()
  session.receive(ev(10, 20), 0)
  assert.deepEqual(sent(session.tick(5_000)), [])
  assert.deepEqual(sent(session.handled(sid, FINE, 5_000)), [])
  assert.equal(session.deadline, 5_100)
  assert.deepEqual(sent(session.tick(5_100)), [{ op: 'ack', sid, seq: 20 }])
  assert.deepEqual(sent(session.tick(9_999)), [])
  session.receive(ev(21, 60), 6_000)
  assert.deepEqual(sent(session.handled(sid, FINE, 6_000)), [{ op: 'ack', sid, seq: 60 }])
})

test('what came on an earlier connection is handled first, then the rest is asked for', () => {
  const session = open()
  session.receive(ev(10, 20), 0)
  session.receive(ev(21, 30), 0)
  session.lost()
  assert.deepEqual(kinds(session.receive(welcome(), 0)), ['welcome'])
  assert.deepEqual(kinds(session.handled(sid, FINE, 0)), ['hand'])
  const [sub] = sent(session.handled(sid, FINE, 0))
  assert(sub?.op === 'sub')
  assert.equal(sub.after, 'e.30')
  assert.deepEqual(sent(session.tick(1_000)), [], 'and acknowledged by nothing')
})

test('a handler that throws ends its subscription, and nothing of it is acknowledged', () => {
  const session = open()
  session.receive(ev(10, 20), 0)
  session.receive(ev(21, 30), 0)
  const effects = session.handled(sid, { ok: false, error: 'broken' }, 0)
  assert.deepEqual(kinds(effects), ['failed', 'send'])
  assert.deepEqual(sent(effects), [{ op: 'unsub', id: 2, sid }])
  assert.deepEqual(session.receive(ev(31, 40), 0), [])
})

test('a durable subscription settles each event, and gives back what its handler did not do', () => {
  const session = open({ durable: 'work', patterns: [] })
  session.receive({ ...ev(10, 12), attempts: [1, 3, 1] } as Ev, 0)
  const back = new Map([[11, 500]])
  assert.deepEqual(sent(session.handled(sid, { ok: true, back }, 0)), [
    { op: 'ack', sid, seq: 10 },
    { op: 'nack', sid, seq: 11, delay_ms: 500 },
    { op: 'ack', sid, seq: 12 },
  ])
  session.receive(ev(13, 13), 0)
  const thrown = session.handled(sid, { ok: false, error: 'broken' }, 0)
  assert.deepEqual(sent(thrown), [{ op: 'nack', sid, seq: 13, reason: 'broken' }])
})

test('what was in hand of a durable one comes again, so a lost connection forgets it', () => {
  const session = open({ group: 'work', member: 'm1' })
  session.receive(ev(10, 10), 0)
  session.receive(ev(11, 11), 0)
  session.lost()
  session.receive(welcome(), 0)
  const [sub] = sent(session.handled(sid, FINE, 0))
  const ask = { patterns: ['*'], window: 100, group: 'work', member: 'm1' }
  assert.deepEqual(sub, { op: 'sub', id: 2, sid, ...ask })
})

test('a subscription that somebody else holds is asked for again', () => {
  const session = new Session()
  session.subscribe({ patterns: [], durable: 'work' }, 0)
  session.receive(welcome(), 0)
  const held: ServerFrame = { op: 'err', id: 1, code: 'lease_held', message: 'held by c7' }
  assert.deepEqual(kinds(session.receive(held, 0)), ['waiting'])
  assert.deepEqual(sent(session.tick(999)), [])
  assert.deepEqual(sent(session.tick(1_000)).map(({ op }) => op), ['sub'])
  assert.deepEqual(session.receive({ ...held, id: 2 } as ServerFrame, 1_000), [], 'told once')
  assert.deepEqual(sent(session.tick(2_000)).map(({ op }) => op), ['sub'])
})

test('a lease that was lost is asked for anew; what ends for another reason is over', () => {
  for (const [code, op] of [
    ['lease_lost', 'sub'],
    ['durable_stopped', undefined],
  ]) {
    const session = open({ durable: 'work' })
    session.receive(ev(10, 10), 0)
    session.receive(ev(11, 11), 0)
    session.receive({ op: 'ended', sid, code: code ?? '', message: 'gone' }, 0)
    const told = session.handled(sid, FINE, 0)
    assert.deepEqual(kinds(told), [op === 'sub' ? 'waiting' : 'refused'], 'the rest comes again')
    assert.deepEqual(sent(session.tick(1_000)).map((frame) => frame.op), op ? [op] : [])
  }
})

test('a subscription that is refused is told so, and not asked for again', () => {
  const session = new Session()
  session.subscribe({ patterns: ['a..b'] }, 0)
  session.receive(welcome(), 0)
  const err: ServerFrame = { op: 'err', id: 1, code: 'invalid_pattern', message: 'an empty token' }
  const [effect] = session.receive(err, 0)
  assert(effect?.do === 'tell' && effect.notice.is === 'refused')
  assert.equal(effect.notice.error.code, 'invalid_pattern')
  session.lost()
  assert.deepEqual(kinds(session.receive(welcome(), 0)), ['welcome'])
})

test('ephemeral events need no acknowledgement, and of those that wait the newest stay', () => {
  const session = open()
  const frame: Ev = { op: 'ev', sid, events: Array(100).fill(event(null)), cursor: 'e.9' }
  session.receive(frame, 0)
  for (let at = 0; at < 12; at += 1) session.receive(frame, 0)
  const effects = session.handled(sid, FINE, 0)
  assert.deepEqual(kinds(effects), ['dropped', 'hand'])
  assert(effects[0]?.do === 'tell' && effects[0].notice.is === 'dropped')
  assert.equal(effects[0].notice.count, 200)
  assert.deepEqual(sent(session.tick(1_000)), [])
})

test('a ping is answered; silence for longer than pings allow gives the connection up', () => {
  const session = open()
  assert.deepEqual(sent(session.receive({ op: 'ping' }, 1_000)), [{ op: 'pong' }])
  assert.equal(session.deadline, 41_000)
  assert.deepEqual(session.tick(40_999), [])
  assert.deepEqual(kinds(session.tick(41_000)), ['drop'])
  session.lost()
  session.opening(50_000)
  assert.deepEqual(kinds(session.tick(60_000)), ['drop'], 'a handshake has ten seconds')
})

test('a new token counts on this connection and the next; a refused one is forgotten', () => {
  const session = open()
  assert.deepEqual(sent(session.refresh('new', 7)), [{ op: 'refresh', id: 2, token: 'new' }])
  assert.deepEqual(session.receive({ op: 'ok', id: 2 }, 0), [
    { do: 'refreshed', ticket: 7, error: null },
  ])
  session.refresh('bad', 8)
  const err: ServerFrame = { op: 'err', id: 3, code: 'unauthorized', message: 'not known' }
  assert.deepEqual(kinds(session.receive(err, 0)), ['refreshed'])
  assert.equal(session.token, 'new')
  session.lost()
  session.refresh('newest', 9)
  assert.deepEqual(sent(session.opened(0)), [{ op: 'hello', v: 1, token: 'newest' }])
  assert.deepEqual(kinds(session.receive(welcome(), 0)), ['welcome', 'refreshed', 'send'])
})

test('at the end, whoever waits for an answer is told that none comes', () => {
  const session = open()
  session.publish({ ticket: 1, event: { topic: 'a', id: 'x' }, level: null, bytes: 10 })
  session.tick(0)
  session.refresh('new', 2)
  assert.deepEqual(kinds(session.end('revoked', 4502)), ['settle', 'refreshed'])
  assert.equal(session.unanswered, 0)
})
