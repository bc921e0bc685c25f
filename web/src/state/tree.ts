/** Putting the flat list of actors into the order and depth of their tree. */
import type { ActorInfo } from '../protocol/types.ts'

export interface Branch {
  readonly actor: ActorInfo
  readonly name: string
  readonly level: number
}

/** Parents before children, brothers by name; who has no known parent stands at the root. */
export function arrange(actors: readonly ActorInfo[]): Branch[] {
  const keys = new Set(actors.map((actor) => actor.key))
  const children = new Map<string | null, ActorInfo[]>()
  for (const actor of actors) {
    const parent = actor.parent !== null && keys.has(actor.parent) ? actor.parent : null
    children.set(parent, [...(children.get(parent) ?? []), actor])
  }
  return below(null, 0, children)
}

function below(
  parent: string | null,
  level: number,
  children: ReadonlyMap<string | null, readonly ActorInfo[]>,
): Branch[] {
  const here = [...(children.get(parent) ?? [])].sort((a, b) => (a.key < b.key ? -1 : 1))
  return here.flatMap((actor) => [
    { actor, name: within(actor.key, parent), level },
    ...(actor.key === parent ? [] : below(actor.key, level + 1, children)),
  ])
}

/** A key without its parent's part; the whole of it where it has another beginning. */
function within(key: string, parent: string | null): string {
  return parent !== null && key.startsWith(`${parent}/`) ? key.slice(parent.length + 1) : key
}
