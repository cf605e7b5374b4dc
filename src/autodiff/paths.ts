/** Which values and nodes lie between what is differentiated and what it is differentiated by. */
import { type Graph, type Node, usedNames } from '../graph/index.ts'
import { isFloat } from '../tensor/index.ts'
import type { Typed } from './emitter.ts'
import { NON_DIFFERENTIABLE, SETTINGS } from './rules/index.ts'

/** The nodes and values between targets (a loss) and sources (parameters). */
export interface Paths {
  /** In topological order. */
  readonly nodes: readonly Node[]
  /** Values whose gradient is wanted; sources only if they reach a target. */
  readonly values: ReadonlySet<string>
  readonly targets: readonly string[]
  readonly sources: readonly string[]
}

/**
 * Finds the nodes through which a change of a source changes a target smoothly: values of other than floating-point
 * types carry none, except quantized numbers, which are taken for the real numbers they stand for.
 *
 * @param graph its nodes in topological order.
 */
export function findPaths(
  graph: Graph,
  targets: readonly string[],
  sources: readonly string[],
  types: ReadonlyMap<string, Typed>,
): Paths {
  const reached = new Set(sources)
  for (const node of graph.nodes) {
    if (isCut(node)) continue
    const from = dataOf(node).filter((name) => reached.has(name))
    if (from.length === 0) continue
    const quantized = node.opType === 'QuantizeLinear' || from.some((name) => !carriesFloats(types, name))
    for (const output of node.outputs)
      if (output !== '' && (quantized || carriesFloats(types, output))) reached.add(output)
  }
  const values = new Set(targets.filter((target) => reached.has(target)))
  const nodes: Node[] = []
  for (const node of graph.nodes.toReversed()) {
    if (isCut(node) || !node.outputs.some((output) => values.has(output))) continue
    const from = dataOf(node).filter((name) => reached.has(name))
    if (from.length === 0) continue
    nodes.push(node)
    for (const name of from) values.add(name)
  }
  return { nodes: nodes.reverse(), values, targets, sources }
}

/** The names a node reads, without those that only set how it works. */
function dataOf(node: Node): string[] {
  const settings = node.domain === '' && Object.hasOwn(SETTINGS, node.opType) ? SETTINGS[node.opType]! : []
  if (settings.length === 0) return usedNames(node)
  return node.inputs.filter((name, at) => name !== '' && !settings.includes(at))
}

/** Whether the operator's gradient is zero or does not exist. */
function isCut(node: Node): boolean {
  return node.domain === '' && NON_DIFFERENTIABLE.has(node.opType)
}

function carriesFloats(types: ReadonlyMap<string, Typed>, name: string): boolean {
  const type = types.get(name)
  // Of sequences and optionals no type is known: they are taken for differentiable, so that the rule is missed aloud.
  return type === undefined || isFloat(type.dtype)
}

/** The way from a target over a node to a source, for messages: `'loss' ← Add 'a' ← Mul 'b' ← 'w'`. */
export function describeRoute(paths: Paths, over: Node): string {
  const producers = new Map<string, Node>()
  const users = new Map<string, Node[]>()
  for (const node of paths.nodes) {
    for (const output of node.outputs) producers.set(output, node)
    for (const name of usedNames(node)) users.set(name, [...(users.get(name) ?? []), node])
  }
  const down: Node[] = [over]
  let target = over.outputs.find((output) => paths.targets.includes(output))
  while (target === undefined) {
    const next = down[0]!.outputs.flatMap((output) => (paths.values.has(output) ? (users.get(output) ?? []) : []))[0]
    if (!next) break
    down.unshift(next)
    target = next.outputs.find((output) => paths.targets.includes(output))
  }
  const up: Node[] = []
  let source: string | undefined
  for (let node: Node | undefined = over; node && source === undefined; ) {
    const names: string[] = usedNames(node).filter((name) => paths.values.has(name))
    source = names.find((name) => paths.sources.includes(name))
    if (source === undefined) {
      node = names.map((name) => producers.get(name)).find((producer) => producer !== undefined)
      if (node) up.push(node)
    }
  }
  const names = [...down, ...up].map((node) => `${node.opType} '${node.name}'`)
  const shown = names.length <= 12 ? names : shorten(names, down.length - 1)
  return [`'${target ?? ''}'`, ...shown, `'${source ?? ''}'`].join(' ← ')
}

/** Leaves out the middle of long lists, keeping the ends and the neighbours of one place. */
function shorten(names: readonly string[], place: number): string[] {
  const kept = names.map((_, at) => at < 3 || at >= names.length - 3 || Math.abs(at - place) <= 1)
  return names.flatMap((name, at) => (kept[at] ? [name] : kept[at - 1] ? ['…'] : []))
}

/** Why a parameter has no gradient: no way at all, or one that an operator without gradient cuts. */
export function describeCut(
  graph: Graph,
  source: string,
  targets: readonly string[],
  types: ReadonlyMap<string, Typed>,
): string {
  const from = new Map<string, Node | undefined>([[source, undefined]])
  const origin = new Map<string, string>()
  for (const node of graph.nodes) {
    const input = usedNames(node).find((name) => from.has(name))
    if (input === undefined) continue
    for (const output of node.outputs) {
      if (output === '' || from.has(output)) continue
      from.set(output, node)
      origin.set(output, input)
    }
  }
  const named = targets.map((target) => `'${target}'`).join(', ')
  const rule = `Parameter '${source}': must influence ${named} to have a gradient;`
  const target = targets.find((name) => from.has(name))
  if (target === undefined)
    return `${rule} no way leads from it there. Leave it out of the parameters, or check the name of the loss.`
  let cut: Node | undefined
  for (let value: string | undefined = target; value !== undefined; value = origin.get(value)) {
    const node = from.get(value)
    const setting = node && !dataOf(node).includes(origin.get(value)!)
    if (node && (setting || isCut(node) || !carriesFloats(types, value))) cut = node
  }
  return cut
    ? `${rule} the way leads through ${cut.opType} '${cut.name}', whose gradient by it is zero or does not exist.`
    : `${rule} the operators on the way pass no gradient on to it.`
}
