/**
 * Element types and shapes of every value of a network, asked from ONNX Runtime instead of being re-implemented.
 *
 * What the runtime infers from concrete input shapes is taken as it is; what depends on data is seen in one run, in
 * which a `Shape` node follows each such value, so that no activation is copied out.
 */
import { checkAborted, type TaskOptions, WhittleError } from '../core/index.ts'
import {
  cloneModel,
  createNode,
  type Evaluator,
  type Executable,
  type Model,
  NameGenerator,
  type TensorMap,
  tensorType,
  type ValueType,
} from '../graph/index.ts'
import type { DType } from '../tensor/index.ts'
import { type InputShapeOptions, inputShapesOf, randomFeeds } from './feeds.ts'
import { loadUnoptimized } from './inner-values.ts'
import { withOutputs } from './outputs.ts'

/** Options of {@link observeShapes}. */
export interface ObserveOptions extends InputShapeOptions, TaskOptions {
  /** Real input; default: random. Needed where inputs are no free data but lengths, axes or other settings. */
  readonly feeds?: TensorMap | undefined
}

/** Element type and shape of a value. */
export interface ObservedValue {
  readonly dtype: DType
  readonly shape: readonly number[]
}

/**
 * Observes the tensor values of the main graph: inputs, initializers and everything nodes produce.
 *
 * Absent from the result are sequences, optionals, maps, and tensors of types that ONNX Runtime's JavaScript API
 * cannot name (bfloat16, float8 …).
 *
 * @throws WhittleError `INVALID_ARGUMENT` when an input has an open axis other than the first and no shape was given;
 * `ENGINE` when the runtime refuses the model or cannot run it on random input.
 */
export async function observeShapes(
  evaluator: Evaluator,
  model: Model,
  options: ObserveOptions = {},
): Promise<Map<string, ObservedValue>> {
  const shapes = inputShapesOf(model, options.feeds ? { inputShapes: shapesOf(options.feeds) } : options)
  const concrete = withInputShapes(model, shapes)
  const observed = new Map<string, ObservedValue>()
  for (const [name, { dtype, shape }] of model.graph.initializers) observed.set(name, { dtype, shape })
  for (const [name, input] of shapes) observed.set(name, input)
  const produced = model.graph.nodes.flatMap((node) => node.outputs).filter((name) => name !== '')
  checkAborted(options.signal)
  const types = await inferTypes(evaluator, concrete, produced)
  const open = new Map<string, DType | undefined>()
  for (const name of produced) {
    const type = types.get(name)
    if (type === undefined) open.set(name, undefined)
    else if (type.kind === 'tensor' && type.dtype) {
      if (type.shape?.every((extent) => typeof extent === 'number'))
        observed.set(name, { dtype: type.dtype, shape: type.shape as readonly number[] })
      else open.set(name, type.dtype)
    }
  }
  checkAborted(options.signal)
  if (open.size > 0)
    for (const [name, value] of await runForShapes(evaluator, concrete, open, options.feeds)) observed.set(name, value)
  return observed
}

function shapesOf(feeds: TensorMap): Record<string, readonly number[]> {
  return Object.fromEntries(Object.entries(feeds).map(([name, { shape }]) => [name, shape]))
}

/** A clone whose inputs have concrete shapes and that says nothing about other values, so that all is inferred. */
function withInputShapes(model: Model, shapes: ReadonlyMap<string, ObservedValue>): Model {
  const clone = cloneModel(model)
  clone.graph.inputs = clone.graph.inputs.map((input) => {
    const known = shapes.get(input.name)
    return known ? { name: input.name, type: tensorType(known.dtype, known.shape) } : input
  })
  clone.graph.outputs = clone.graph.outputs.map(({ name, type }) => ({
    name,
    type: type?.kind === 'tensor' ? undefined : type,
  }))
  clone.graph.valueInfos.clear()
  return clone
}

/** Floating-point initializers from this many elements on are weights, of which inference needs only the shape. */
const WEIGHT_ELEMENTS = 4096

/**
 * A clone whose weights are inputs: what is inferred stays the same, and the runtime gets no copy of them, which for a
 * model of 400 MB saves 1.2 GB and a second. Small ones stay, since they may be scales or bounds that shapes follow from.
 */
function withoutWeights(model: Model): Model {
  const clone = cloneModel(model)
  const { graph } = clone
  for (const [name, { dtype, shape, size }] of model.graph.initializers) {
    if (size < WEIGHT_ELEMENTS || !WEIGHT_TYPES.has(dtype)) continue
    graph.initializers.delete(name)
    // Before IR version 4 initializers are listed among the inputs too.
    graph.inputs = graph.inputs.filter((input) => input.name !== name)
    graph.inputs.push({ name, type: tensorType(dtype, shape) })
  }
  return clone
}

const WEIGHT_TYPES: ReadonlySet<DType> = new Set<DType>(['float32', 'float64', 'float16'])

/**
 * What the runtime infers about values; nothing about those whose type its JavaScript API cannot name, found by
 * halving because one of them makes it refuse the whole model. With an evaluator that tells no types, nothing at all.
 */
async function inferTypes(
  evaluator: Evaluator,
  model: Model,
  names: readonly string[],
): Promise<ReadonlyMap<string, ValueType>> {
  const attempt = async (some: readonly string[], from = model): Promise<ReadonlyMap<string, ValueType>> => {
    const executable = await evaluator.load(withOutputs(from, some), { optimization: 'disabled' })
    await executable.release()
    return executable.outputTypes ?? new Map()
  }
  const halve = async (some: readonly string[]): Promise<[string, ValueType][]> => {
    try {
      return [...(await attempt(some))]
    } catch {
      if (some.length === 1) return [[some[0]!, tensorType(undefined, undefined)]]
      const middle = Math.ceil(some.length / 2)
      return [...(await halve(some.slice(0, middle))), ...(await halve(some.slice(middle)))]
    }
  }
  try {
    return await attempt(names, withoutWeights(model))
  } catch {
    // The model as it is: throws when it is the model that the runtime refuses.
    await (await loadUnoptimized(evaluator, model)).release()
    return new Map(await halve(names))
  }
}

/** Runs once; a value whose element type is known costs only its shape, others are fetched themselves. */
async function runForShapes(
  evaluator: Evaluator,
  model: Model,
  values: ReadonlyMap<string, DType | undefined>,
  feeds: TensorMap | undefined,
): Promise<Map<string, ObservedValue>> {
  const whole = [...values].filter(([, dtype]) => dtype === undefined).map(([name]) => name)
  const probe = withOutputs(model, whole)
  const names = new NameGenerator(probe.graph)
  const shapeOutputs = new Map<string, string>()
  for (const [name, dtype] of values) {
    if (dtype === undefined) continue
    const output = names.fresh(`${name}_shape`)
    shapeOutputs.set(name, output)
    probe.graph.nodes.push(createNode('Shape', [name], [output], {}, names.fresh(`${name}_observe`)))
    probe.graph.outputs.push({ name: output, type: undefined })
  }
  const executable = await loadUnoptimized(evaluator, probe)
  try {
    const outputs = [...whole, ...shapeOutputs.values()]
    const results = await (feeds ? executable.run(feeds, outputs) : runOnTrialInput(executable, model, outputs))
    const observed = new Map<string, ObservedValue>()
    for (const name of whole) observed.set(name, { dtype: results[name]!.dtype, shape: results[name]!.shape })
    for (const [name, output] of shapeOutputs)
      observed.set(name, { dtype: values.get(name)!, shape: Array.from(results[output]!.data, Number) })
    return observed
  } finally {
    await executable.release()
  }
}

/** Integers are ones first; an index may be too large then, and zeros are tried. */
async function runOnTrialInput(
  executable: Executable,
  model: Model,
  outputs: readonly string[],
): ReturnType<Executable['run']> {
  try {
    return await executable.run(randomFeeds(model), outputs)
  } catch (error) {
    if (!(error instanceof WhittleError && error.code === 'ENGINE')) throw error
    try {
      return await executable.run(randomFeeds(model, { integer: 0 }), outputs)
    } catch {
      throw error
    }
  }
}
