import assert from 'node:assert/strict'
import test from 'node:test'
import type { ActorInfo } from '../../src/protocol/types.ts'
import { arrange } from '../../src/state/tree.ts'

const actor = (key: string, parent: string | null): ActorInfo => ({
  key,
  parent,
  state: 'running',
  generation: 1,
  restarts: 0,
  depth: 0,
  capacity: 1024,
  processed: 0,
  failed: 0,
  age_s: 1,
  current: null,
})

test('children follow their parent, brothers in order, orphans at the root', () => {
  const branches = arrange([
    actor('log/store', 'log'),
    actor('root', null),
    actor('log/bus', 'log'),
    actor('log', 'root'),
    actor('lost/one', 'gone'),
  ])
  assert.deepEqual(
    branches.map((branch) => `${'  '.repeat(branch.level)}${branch.name}`),
    ['lost/one', 'root', '  log', '    bus', '    store'],
  )
})
