/** The second half of a training step's graph: clipping, the optimizer's update, averages. */
import { type BatchStatistics, Emitter, type Typed } from '../autodiff/index.ts'
import { type Graph, type Model, removeUnusedFrom, tensorType, usedNames } from '../graph/index.ts'
import { byteLengthOf, Tensor } from '../tensor/index.ts'
import type { StoredParameter } from './lowering/index.ts'
import {
  clipGradients,
  defaultWeightDecay,
  emitUpdate,
  type ParameterSettings,
  SCALARS,
  type ScalarName,
  stateNames,
} from './optimizer.ts'
import { packParameters, packStatistics, type Unit } from './packing.ts'
import { groupOf, type ParameterGroup } from './parameters.ts'
import type { StepOptions } from './step-options.ts'
import type { Carrier } from './stored.ts'

/** A tensor that one step hands to the next. */
export interface Carried {
  /** Its name in the graph; `first/…` and `last/…` outside the loop. */
  readonly name: string
  readonly role: 'parameter' | 'statistic' | 'state' | 'average'
  /** Name of the initializer it belongs to. */
  readonly of: string
  readonly initial: Tensor
}

/** Where the update's nodes go, and the values it starts from. */
export interface Stage {
  readonly graph: Graph
  readonly emit: Emitter
  readonly loss: string
  readonly correct: string
  readonly gradients: ReadonlyMap<string, string>
  /** Statistics and what replaces them. */
  readonly statistics: readonly (readonly [string, string])[]
  readonly sliced: readonly string[]
  /** What the statistics are made of, where they are this step's alone. */
  readonly batchStatistics: readonly BatchStatistics[]
  /** Parameters that the graph has in another order. */
  readonly stored: ReadonlyMap<string, StoredParameter>
  /** The network: its layers' names, and the tensors that parameters and statistics start from. */
  readonly source: Graph
}

/** What {@link emitUpdates} added. */
export interface Update {
  readonly carried: readonly Carried[]
  /** What the inputs that steps hand on are made of. */
  readonly carriers: readonly Carrier[]
  /** Inputs that steps hand on, and the outputs that replace them. */
  readonly pairs: readonly (readonly [string, string])[]
  readonly settings: readonly ParameterSettings[]
  readonly scalars: readonly { readonly input: string; readonly name: ScalarName; readonly group: number }[]
  /** Norm of all gradients together, before clipping to a norm. */
  readonly norm: string
}

/** Emits clipping, updates and averages; adds the inputs that they need. @param model around the stage's graph. */
export function emitUpdates(stage: Stage, model: Model, options: StepOptions): Update {
  const { graph, source } = stage
  const names = [...stage.gradients.keys()]
  const { settings, groups, chosen } = groupParameters(source, names, options)
  const typed = (name: string): Typed => {
    const { dtype, shape } = source.initializers.get(name)!
    return { dtype, shape }
  }
  const parameters = names.map((name, at) => ({
    name: stage.stored.get(name)?.name ?? name,
    member: { name, type: typed(name), order: stage.stored.get(name)?.order },
    gradient: stage.emit.scale(stage.gradients.get(name)!, chosen[at]?.gradientScale ?? 1),
    group: groups[at]!,
    isAlone: chosen[at]?.least !== undefined || chosen[at]?.most !== undefined,
    chosen: chosen[at],
  }))
  const units = packParameters(stage, parameters)
  const statistics = packStatistics(stage, typed)
  const { gradients, norm } = clipGradients(
    stage.emit,
    units.map(({ gradient }) => gradient),
    options.clip ?? {},
  )
  const known = [
    ...gradients,
    ...units.map(({ name }) => name),
    ...statistics.flatMap(({ name, value }) => [name, value]),
  ]
  const emit = extended(stage, known, newInputs([...units, ...statistics], units, settings.length, options))
  const carriers: Carrier[] = []
  const pairs: [string, string][] = []
  const carry = (unit: Unit, prefix: string, value: string): void => {
    const named = (name: string): string => (prefix === '' ? name : `${prefix}/${name}`)
    const members = unit.members.map((member) => ({ ...member, name: named(member.name) }))
    carriers.push({ name: named(unit.name), members })
    pairs.push([named(unit.name), value])
  }
  const { ema } = options
  const average = (unit: Unit, value: string): void => {
    if (ema === undefined) return
    carry(unit, 'average', emit.add(emit.scale(`average/${unit.name}`, ema), emit.scale(value, 1 - ema)))
  }
  for (const [at, unit] of units.entries()) {
    const parts = stateNames(options.optimizer)
    const state = parts.map((part) => `${part}/${unit.name}`)
    const inputs = { parameter: unit.name, gradient: gradients[at]!, state, settings: settings[unit.group]! }
    const updated = emitUpdate(emit, options.optimizer, { ...inputs, scalars: scalarsOf(unit.group) })
    const next = bounded(emit, unit.name, updated.parameter, unit.chosen)
    carry(unit, '', next)
    for (const [index, part] of parts.entries()) carry(unit, part, updated.state[index]!)
    average(unit, next)
  }
  for (const unit of statistics) {
    carry(unit, '', unit.value)
    average(unit, unit.value)
  }
  const results = [stage.loss, stage.correct, norm, ...pairs.map(([, value]) => value)]
  const carried = carriedOf(source, names, stage.statistics, options)
  return { carried, carriers, pairs, settings, norm, scalars: finish(model, graph, results, settings.length) }
}

/** What steps hand on, tensor by tensor: every parameter with its state and average, then the statistics. */
function carriedOf(
  source: Graph,
  names: readonly string[],
  statistics: Stage['statistics'],
  { optimizer, ema }: StepOptions,
): Carried[] {
  const carried: Carried[] = []
  const add = (role: Carried['role'], of: string, name: string): void => {
    const tensor = source.initializers.get(of)!
    // Not held in memory: a run starts from zeros of its own.
    const zeros = (): Tensor =>
      Tensor.lazy(tensor.dtype, tensor.shape, () => new Uint8Array(byteLengthOf(tensor.dtype, tensor.size)))
    carried.push({ name, role, of, initial: role === 'state' ? zeros() : tensor })
  }
  for (const name of names) {
    add('parameter', name, name)
    for (const part of stateNames(optimizer)) add('state', name, `${part}/${name}`)
    if (ema !== undefined) add('average', name, `average/${name}`)
  }
  for (const [name] of statistics) {
    add('statistic', name, name)
    if (ema !== undefined) add('average', name, `average/${name}`)
  }
  return carried
}

/** The different settings that there are, and which of them each parameter has. */
function groupParameters(
  source: Graph,
  names: readonly string[],
  { optimizer, groups = [], decayWeightsOnly = false }: StepOptions,
): {
  readonly settings: readonly ParameterSettings[]
  readonly groups: readonly number[]
  readonly chosen: readonly (ParameterGroup | undefined)[]
} {
  const settings: ParameterSettings[] = []
  const chosen = names.map((name) => groupOf(source, name, groups))
  const numbers = names.map((name, at) => {
    const group = chosen[at]
    const isExempt = decayWeightsOnly && source.initializers.get(name)!.shape.length <= 1
    const weightDecay = group?.weightDecay ?? (isExempt ? 0 : defaultWeightDecay(optimizer))
    const own = { weightDecay, lrScale: group?.lrScale ?? 1 }
    const known = settings.findIndex((one) => one.weightDecay === own.weightDecay && one.lrScale === own.lrScale)
    return known >= 0 ? known : settings.push(own) - 1
  })
  return { settings, groups: numbers, chosen }
}

/** The new value where it is within the group's bounds, else the old one. */
function bounded(emit: Emitter, old: string, next: string, group: ParameterGroup | undefined): string {
  let value = next
  if (group?.least !== undefined)
    value = emit.where(emit.binary('GreaterOrEqual', value, emit.number(group.least, value)), value, old)
  if (group?.most !== undefined)
    value = emit.where(emit.binary('LessOrEqual', value, emit.number(group.most, value)), value, old)
  return value
}

function scalarsOf(group: number): Record<ScalarName, string> {
  return Object.fromEntries(SCALARS.map((scalar) => [scalar, `${scalar}/${group}`])) as Record<ScalarName, string>
}

interface Input {
  readonly name: string
  readonly type: Typed
}

/** Scalars, the optimizer's state of parameters, and averages of all. */
function newInputs(
  all: readonly Unit[],
  parameters: readonly Unit[],
  groups: number,
  { optimizer, ema }: StepOptions,
): Input[] {
  const scalar: Typed = { dtype: 'float32', shape: [] }
  const inputs: Input[] = Array.from({ length: groups }, (_, group) => Object.values(scalarsOf(group)))
    .flat()
    .map((name) => ({ name, type: scalar }))
  for (const { name, type } of parameters)
    for (const part of stateNames(optimizer)) inputs.push({ name: `${part}/${name}`, type })
  if (ema !== undefined) for (const { name, type } of all) inputs.push({ name: `average/${name}`, type })
  return inputs
}

/** Adds inputs. @returns an emitter on the same graph that knows them beside the values that are needed further on. */
function extended({ emit, graph }: Stage, known: readonly string[], inputs: readonly Input[]): Emitter {
  const types = new Map<string, Typed>(known.map((name) => [name, emit.type(name)]))
  for (const { name, type } of inputs) {
    types.set(name, type)
    graph.inputs.push({ name, type: tensorType(type.dtype, type.shape) })
  }
  return new Emitter(graph, types)
}

/** Removes what no result needs, and inputs of scalars that nothing reads. @returns the scalars that are left. */
function finish(model: Model, graph: Graph, results: readonly string[], groups: number): Update['scalars'] {
  graph.outputs = results.map((name) => ({ name, type: undefined }))
  removeUnusedFrom({ ...model, graph })
  const used = new Set(graph.nodes.flatMap(usedNames))
  const scalars = Array.from({ length: groups }, (_, group) =>
    SCALARS.map((name) => ({ input: `${name}/${group}`, name, group })),
  ).flat()
  const unused = new Set(scalars.map(({ input }) => input).filter((name) => !used.has(name)))
  graph.inputs = graph.inputs.filter(({ name }) => !unused.has(name))
  return scalars.filter(({ input }) => !unused.has(input))
}
