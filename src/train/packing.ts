/**
 * Small tensors that steps hand on as parts of one vector inside the loop: an operator takes some microseconds however
 * small its operands are, and a network has hundreds of scales, shifts and statistics.
 */
import type { Typed } from '../autodiff/index.ts'
import { createNode, tensorType } from '../graph/index.ts'
import { sizeOf } from '../tensor/index.ts'
import type { ParameterGroup } from './parameters.ts'
import { flat, type Member, split, storedShapeOf } from './stored.ts'
import type { Stage } from './update-graph.ts'

/** Elements up to which a tensor is put beside others, which copies it twice per step. */
const SMALL = 65_536

/** What is updated as one: a parameter, or several small ones as a vector. */
export interface Unit {
  /** The graph's input. */
  readonly name: string
  readonly type: Typed
  readonly members: readonly Member[]
}

/** A parameter before it is packed. */
export interface Parameter {
  readonly name: string
  readonly member: Member
  readonly gradient: string
  /** Which settings it has. */
  readonly group: number
  /** Whether it has bounds of its own. */
  readonly isAlone: boolean
  readonly chosen: ParameterGroup | undefined
}

/** A unit with what updates it. */
export interface ParameterUnit extends Unit {
  readonly gradient: string
  readonly group: number
  /** Bounds, of a parameter on its own. */
  readonly chosen: ParameterGroup | undefined
}

function innerType(member: Member): Typed {
  return { dtype: member.type.dtype, shape: storedShapeOf(member) }
}

/** Puts small parameters of equal settings together, and their gradients. */
export function packParameters(stage: Stage, parameters: readonly Parameter[]): ParameterUnit[] {
  const units: ParameterUnit[] = []
  const packs = new Map<string, Parameter[]>()
  for (const parameter of parameters) {
    const { dtype, shape } = parameter.member.type
    const isSmall = sizeOf(shape) <= SMALL && !parameter.isAlone
    const key = isSmall ? `${parameter.group} ${dtype}` : parameter.name
    const pack = packs.get(key)
    if (pack) pack.push(parameter)
    else packs.set(key, [parameter])
  }
  for (const pack of packs.values()) {
    const [{ name, member, gradient, group, chosen }] = pack as [Parameter]
    const members = pack.map((parameter) => parameter.member)
    if (pack.length === 1) units.push({ name, type: innerType(member), members, gradient, group, chosen })
    else {
      const unit = unpack(
        stage,
        `packed/${units.length}`,
        pack.map((parameter) => ({ name: parameter.name, member: parameter.member })),
      )
      const { emit } = stage
      const all = emit.concat(
        pack.map((parameter) => flat(emit, parameter.gradient)),
        0,
      )
      units.push({ ...unit, gradient: all, group, chosen: undefined })
    }
  }
  return units
}

/** Puts running statistics together where they are blended alike, and gives what replaces them. */
export function packStatistics(stage: Stage, typed: (name: string) => Typed): (Unit & { readonly value: string })[] {
  const { emit, batchStatistics, statistics } = stage
  const [first] = batchStatistics
  const pairs = batchStatistics.flatMap(({ runningMean, runningVariance, batchMean, batchVariance }) => [
    [runningMean, batchMean] as const,
    [runningVariance, batchVariance] as const,
  ])
  const { dtype } = first ? typed(first.runningMean) : { dtype: undefined }
  const isAlike = batchStatistics.every(({ momentum }) => momentum === first?.momentum)
  const isOwn = new Set(pairs.map(([name]) => name)).size === statistics.length && pairs.length === statistics.length
  const isSame = pairs.every(([name]) => typed(name).dtype === dtype)
  if (!first || pairs.length < 4 || !isAlike || !isOwn || !isSame)
    return statistics.map(([name, value]) => {
      const type = typed(name)
      return { name, type, members: [{ name, type }], value }
    })
  const members = pairs.map(([name]) => ({ name, member: { name, type: typed(name) } }))
  const unit = unpack(stage, 'packed/statistics', members)
  const batch = emit.concat(
    pairs.map(([, value]) => value),
    0,
  )
  const value = emit.add(emit.scale(unit.name, first.momentum), emit.scale(batch, 1 - first.momentum))
  return [{ ...unit, value }]
}

/** Makes a vector the graph's input in the place of its parts, which are cut from it in front of all that reads them. */
function unpack(
  { graph, emit }: Stage,
  wanted: string,
  parts: readonly { readonly name: string; readonly member: Member }[],
): Unit {
  const sizes = parts.map(({ member }) => sizeOf(member.type.shape))
  const dtype = parts[0]!.member.type.dtype
  const type = { dtype, shape: [sizes.reduce((sum, size) => sum + size, 0)] }
  const name = emit.declare(wanted, type)
  const own = new Set(parts.map((part) => part.name))
  graph.inputs = graph.inputs.filter((input) => !own.has(input.name))
  graph.inputs.push({ name, type: tensorType(dtype, type.shape) })
  const { nodes } = graph
  graph.nodes = []
  const pieces = split(emit, name, sizes)
  const cut = graph.nodes.at(-1)!
  for (const [at, { name: part, member }] of parts.entries()) {
    const { shape } = innerType(member)
    if (shape.length === 1) cut.outputs[at] = part
    else graph.nodes.push(createNode('Reshape', [pieces[at]!, emit.integers(shape)], [part], {}, `cut/${part}`))
  }
  graph.nodes.push(...nodes)
  return { name, type, members: parts.map(({ member }) => member) }
}
