/**
 * A client that a test leads by lines of JSON: commands in, what happened out. Not run by itself.
 *
 * Takes `{"publish": [n, …]}`, `{"refresh": token}`, `{"hurry": true}`; the end of its input
 * closes it. With a name it holds that durable subscription, from the earliest event, and fails
 * the first time that it is given 5. Tells `{"event": n, "seq", "attempts"}`,
 * `{"published": n, "seq"}`, `{"failed": n, "code"}`, `{"link": …}`, `{"notice": …}` and
 * `{"refreshed": …}`.
 */
import { createInterface } from 'node:readline'
import { setImmediate as turn } from 'node:timers/promises'
import { BusError, connect } from '../../src/connection/index.ts'

const tell = (line: object): unknown => process.stdout.write(`${JSON.stringify(line)}\n`)
const codeOf = (error: unknown): string => (error instanceof BusError ? error.code : String(error))
const numberOf = (payload: unknown): number => (payload as { n: number }).n

const [url = '', token = '', durable] = process.argv.slice(2)
const bus = connect({ url, token })
bus.onLink((link) => tell({ link: link.is, code: link.is === 'ended' ? link.code : null }))
let failed = durable === undefined
bus.subscribe(['song.*'], {
  window: 50,
  ...(durable !== undefined && { durable, start: 'earliest' }),
  onEvents: async (events, { attempts }) => {
    await turn()
    for (const [at, { payload, seq }] of events.entries()) {
      if (numberOf(payload) === 5 && !failed) {
        failed = true
        throw new Error('not this time')
      }
      tell({ event: numberOf(payload), seq, attempts: attempts[at] })
    }
  },
  onNotice: (notice) => tell({ notice: notice.is }),
})

async function publish(n: number): Promise<void> {
  try {
    const { seq } = await bus.publish('song.verse', { n })
    tell({ published: n, seq })
  } catch (error) {
    tell({ failed: n, code: codeOf(error) })
  }
}

async function refresh(another: string): Promise<void> {
  try {
    await bus.refresh(another)
    tell({ refreshed: true })
  } catch (error) {
    tell({ refreshed: codeOf(error) })
  }
}

const input = createInterface(process.stdin)
input.on('line', (line) => {
  const command = JSON.parse(line)
  for (const n of command.publish ?? []) void publish(n)
  if (command.refresh) void refresh(command.refresh)
  if (command.hurry) bus.hurry()
})
input.on('close', () => bus.close())
