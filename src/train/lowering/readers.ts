/** Who reads what. */
import type { Node } from '../../graph/index.ts'

/** The nodes that read each value, each once, in their order. */
export function readersOf(nodes: readonly Node[]): ReadonlyMap<string, readonly Node[]> {
  const readers = new Map<string, Node[]>()
  for (const node of nodes)
    for (const name of new Set(node.inputs)) {
      const list = readers.get(name)
      if (list) list.push(node)
      else readers.set(name, [node])
    }
  return readers
}
