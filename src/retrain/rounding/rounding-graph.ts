/**
 * One step of learned rounding as a graph, in a `Loop` over the steps of a run: the unit with soft weights, the squared
 * distance of its output to what it should be, gradients and Adam's update of every α.
 *
 * A unit is any part of a network, from one layer's product of rows to a block of layers.
 */
import { Emitter, gradient, type Typed } from '../../autodiff/index.ts'
import { cloneModel, liftOpset, type Model, removeUnusedFrom, replaceUses, tensorType } from '../../graph/index.ts'
import { sizeOf, Tensor } from '../../tensor/index.ts'
import { emitUpdate, loopNames, loopOver, type Optimizer } from '../../train/index.ts'
import { emitRegularizerGradient, emitRoundedShare } from './soft-rounding.ts'

/** A weight of a unit whose rounding is learned; all arrays are in the order of the weight's elements. */
export interface SoftWeight {
  /** Name of the unit's initializer. */
  readonly name: string
  readonly shape: readonly number[]
  /** Multiples of steps below the weight. */
  readonly lower: Float32Array
  readonly step: Float32Array
  readonly least: Float32Array
  readonly most: Float32Array
}

/** A part of a network with float32 values only. */
export interface RoundingUnit {
  /** Its inputs and its one output have the batch's shapes. */
  readonly model: Model
  readonly types: ReadonlyMap<string, Typed>
  readonly weights: readonly SoftWeight[]
  /** Rows that a loss is the mean of: the output's elements but for its channels. */
  readonly rows: number
  /** What the target goes through before it is compared, such as the activation function; default: nothing. */
  readonly targetOf?: (emit: Emitter, target: string) => string
}

/** Names of the inputs and outputs beside those of the loop. */
export const roundingNames = {
  alpha: (weight: string): string => `alpha/${weight}`,
  /** All batches of an input of the unit, `[batches, …]`. */
  data: (input: string): string => `data/${input}`,
  target: 'data/rounding-target',
  /** Which batch a step takes. */
  batch: 'rounding/batch',
  strength: 'rounding/strength',
  beta: 'rounding/beta',
  rate: 'rounding/rate',
  root: 'rounding/root',
  loss: 'rounding/loss',
} as const

/** Adam as in the paper's code: no weight decay. */
export const ROUNDING_OPTIMIZER: Optimizer = { kind: 'adam' }

const SCALAR: Typed = { dtype: 'float32', shape: [] }

/**
 * Builds the loop. Its inputs: `turns`, `first/…` of α and Adam's two states, `stacked/…` of the scalars, and the data;
 * its outputs: `last/…` and the loss of every step.
 */
export function roundingLoop(unit: RoundingUnit): Model {
  const model = liftOpset(cloneModel(unit.model), 18)
  const { graph } = model
  const types = new Map(unit.types)
  const inputs = graph.inputs.map(({ name }) => name)
  const output = graph.outputs[0]!.name
  const declare = (name: string, type: Typed): string => {
    types.set(name, type)
    graph.inputs.push({ name, type: tensorType(type.dtype, type.shape) })
    return name
  }
  graph.inputs = []
  for (const { name, shape } of unit.weights) declare(roundingNames.alpha(name), { dtype: 'float32', shape })
  const scalars = [roundingNames.strength, roundingNames.beta, roundingNames.rate, roundingNames.root]
  for (const name of scalars) declare(name, SCALAR)
  declare(roundingNames.batch, { dtype: 'int64', shape: [] })
  for (const name of [...inputs, output]) {
    const type = types.get(name)!
    const all = name === output ? roundingNames.target : roundingNames.data(name)
    declare(all, { dtype: type.dtype, shape: [0, ...type.shape] })
  }
  // The emitter looks for names in use when it is made, and adds to whatever list there is.
  const emit = new Emitter(graph, types)
  const unitNodes = graph.nodes
  graph.nodes = []
  const take = (all: string, name: string): string =>
    emit.op('Gather', [all, roundingNames.batch], emit.shape(name), { axis: 0 })
  const replaced = new Map(inputs.map((name) => [name, take(roundingNames.data(name), name)]))
  const shares = unit.weights.map((weight) => {
    const { share, value } = emitSoftWeight(emit, weight)
    replaced.set(weight.name, value)
    return share
  })
  const target = take(roundingNames.target, output)
  const before = graph.nodes
  graph.nodes = unitNodes
  for (const { name } of unit.weights) graph.initializers.delete(name)
  replaceUses(graph, replaced)
  graph.nodes = [...before, ...unitNodes]
  return differentiated(unit, model, emit.types, { output, target, shares })
}

function emitSoftWeight(emit: Emitter, weight: SoftWeight): { share: string; value: string } {
  const { shape } = weight
  const constant = (values: Float32Array): string =>
    emit.tensor(isConstant(values) ? Tensor.of(values.slice(0, 1), []) : Tensor.of(values, shape))
  const share = emitRoundedShare(emit, roundingNames.alpha(weight.name))
  let level = emit.add(share, constant(weight.lower))
  if (reaches(weight))
    level = emit.op('Min', [emit.binary('Max', level, constant(weight.least)), constant(weight.most)], shape)
  return { share, value: emit.mul(level, constant(weight.step)) }
}

function isConstant(values: Float32Array): boolean {
  return values.length > 0 && values.every((value) => value === values[0])
}

/** Whether a level can leave its limits. */
function reaches({ lower, least, most }: SoftWeight): boolean {
  return lower.some((value, i) => value < least[i]! || value + 1 > most[i]!)
}

/** Adds loss, gradients and updates, and wraps all in the loop. */
function differentiated(
  unit: RoundingUnit,
  model: Model,
  types: ReadonlyMap<string, Typed>,
  { output, target, shares }: { output: string; target: string; shares: readonly string[] },
): Model {
  const forward = new Emitter(model.graph, types)
  const difference = forward.sub(output, unit.targetOf ? unit.targetOf(forward, target) : target)
  const squares = forward.reduce('ReduceSumSquare', difference, [...forward.shape(difference).keys()], false)
  const loss = forward.scale(squares, 1 / unit.rows)
  const seeds = new Map(
    shares.map((share) => [share, emitRegularizerGradient(forward, share, roundingNames.strength, roundingNames.beta)]),
  )
  const alphas = unit.weights.map(({ name }) => roundingNames.alpha(name))
  const result = gradient(model, { loss, withRespectTo: alphas, types: forward.types, seeds })
  const { graph } = result.model
  const carried: [string, string][] = []
  const states = alphas.map((alpha) => ['mean', 'square'].map((part) => `${part}/${alpha}`))
  const typesNow = new Map(result.emit.types)
  for (const [at, names] of states.entries())
    for (const name of names) {
      const type = typesNow.get(alphas[at]!)!
      typesNow.set(name, type)
      graph.inputs.push({ name, type: tensorType(type.dtype, type.shape) })
    }
  const emit = new Emitter(graph, typesNow)
  const { rate, root } = roundingNames
  for (const [at, parameter] of alphas.entries()) {
    const updated = emitUpdate(emit, ROUNDING_OPTIMIZER, {
      parameter,
      gradient: result.gradients.get(parameter)!,
      state: states[at]!,
      settings: { weightDecay: 0, lrScale: 1 },
      scalars: { rate, root, decay: '', fresh: '' },
    })
    carried.push([parameter, updated.parameter])
    for (const [part, name] of states[at]!.entries()) carried.push([name, updated.state[part]!])
  }
  graph.outputs = [loss, ...carried.map(([, name]) => name)].map((name) => ({ name, type: undefined }))
  removeUnusedFrom(result.model)
  const sliced = [roundingNames.batch, roundingNames.strength, roundingNames.beta, rate, root]
  const loop = loopOver(graph, { sliced, carried, scanned: [loss] })
  for (const node of loop.nodes)
    node.outputs = node.outputs.map((name) => (name === loopNames.each(loss) ? roundingNames.loss : name))
  loop.outputs = loop.outputs.map((info) =>
    info.name === loopNames.each(loss) ? { ...info, name: roundingNames.loss } : info,
  )
  loop.inputs = loop.inputs.map(({ name, type }) =>
    name.startsWith('data/') && type?.kind === 'tensor'
      ? { name, type: tensorType(type.dtype, type.shape && ['batches', ...type.shape.slice(1)]) }
      : { name, type },
  )
  return { ...result.model, graph: loop }
}

/** Elements of all weights of a unit. */
export function softElements({ weights }: RoundingUnit): number {
  return weights.reduce((sum, { shape }) => sum + sizeOf(shape), 0)
}
