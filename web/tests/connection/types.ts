/** What users of the client see, pinned: this only type-checks. */
import { connect, type BusError, type Event, type Published } from '../../src/connection/index.ts'

export async function surface(error: BusError): Promise<void> {
  const { failure } = error
  // @ts-expect-error: only known once the code is
  void failure.lastSeq
  if (failure.code === 'wrong_expected_seq') failure.lastSeq satisfies number | null
  if (failure.code === 'overloaded') failure.retryAfterMs satisfies number
  // @ts-expect-error: no such code
  void (failure.code === 'overloded')

  const bus = connect({ url: 'http://127.0.0.1:7117', token: 't' })
  const { link } = bus
  // @ts-expect-error: only while waiting
  void link.retryAt
  if (link.is === 'waiting') link.retryAt satisfies number
  ;(await bus.publish('a', 1, { level: 'none' })) satisfies Published
  // @ts-expect-error: no such level
  void bus.publish('a', 1, { level: 'maybe' })
  // @ts-expect-error: somebody has to take the events
  bus.subscribe(['*'], {})
  for await (const event of bus.follow(['*'])) event satisfies Event
  bus.subscribe(['*'], { onEvents: () => {} }) satisfies () => void
}
