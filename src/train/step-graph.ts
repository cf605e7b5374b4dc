/**
 * A training step as one ONNX graph: forward, loss, gradients, optimizer update and running statistics, in a `Loop` over
 * the steps of a run. Everything that a step changes goes in and comes out as a tensor.
 */
import { Emitter, gradient, type Typed, toTrainingBatchNorm } from '../autodiff/index.ts'
import { fail } from '../core/index.ts'
import {
  createNode,
  type Graph,
  liftOpset,
  type Model,
  removeUnusedFrom,
  sortNodes,
  tensorType,
} from '../graph/index.ts'
import { fromNumbers, sizeOf, Tensor } from '../tensor/index.ts'
import { emitStatistics } from './batch-norm.ts'
import { loopNames, loopOver } from './loop.ts'
import { checkLoss, type LossInputs, needsOf, rowsOfScores, totalLoss } from './losses.ts'
import type { Lowered, LoweringContext, StoredParameter } from './lowering/index.ts'
import { checkClipping, checkOptimizer, type ParameterSettings, type ScalarName } from './optimizer.ts'
import { type Selection, selectParameters } from './parameters.ts'
import type { StepOptions } from './step-options.ts'
import { type Carrier, storedShape } from './stored.ts'
import { logitsOf, type TeacherValues, teacherValues } from './teacher.ts'
import { type Carried, emitUpdates, type Stage } from './update-graph.ts'

/** A training step as a graph, and what its inputs and outputs are. */
export interface StepGraph {
  /** Runs any number of steps; see `loopOver` for its inputs and outputs. */
  readonly model: Model
  /** One batch's forward and backward pass without an update, for finding where a number stopped being finite. */
  readonly pass: Model
  /** Samples' inputs, as the trained model has them. */
  readonly inputs: readonly string[]
  readonly batch: number
  readonly accumulate: number
  readonly classes: number
  /** The input for target rows `[N, C]`, when the loss uses labels. */
  readonly targets: string | undefined
  /** Inputs for the teacher's values, and the model that computes them. */
  readonly teacher: TeacherValues | undefined
  readonly carried: readonly Carried[]
  /** The values that the loop hands on, and what of `carried` each is made of. */
  readonly carriers: readonly Carrier[]
  /** Settings of each group of parameters; its scalars are the inputs `${name}/${group}`. */
  readonly settings: readonly ParameterSettings[]
  /** The scalars that are inputs. */
  readonly scalars: readonly { readonly input: string; readonly name: ScalarName; readonly group: number }[]
  readonly selection: Selection
  /** Gradient value of each parameter, in `pass`. */
  readonly gradients: ReadonlyMap<string, string>
  /** The loss, in `pass`. */
  readonly loss: string
  /** Element types and shapes of the values of `pass`. */
  readonly types: ReadonlyMap<string, Typed>
}

export const TARGETS = 'train/targets'
export const LOSS = 'train/loss'
export const CORRECT = 'train/correct'
export const GRADIENT_NORM = 'train/gradient-norm'

/** Forward and backward pass of one batch. */
interface Pass extends Omit<Stage, 'graph'> {
  readonly stored: ReadonlyMap<string, StoredParameter>
  readonly types: ReadonlyMap<string, Typed>
  readonly model: Model
  /** The same in standard operators, with every value under its name. */
  readonly standard: Model
  readonly selection: Selection
  readonly classes: number
  readonly targets: string | undefined
  readonly teacher: TeacherValues | undefined
}

/**
 * Builds a training step.
 *
 * @param model of any opset from 7 on, with constants as initializers.
 * @param types of its values, as `observeShapes` gives them for the batch that is trained with.
 * @throws WhittleError `INVALID_ARGUMENT` for wrong options and when the loss depends on no parameter; `UNSUPPORTED`
 *   naming a node without gradient rule; `SHAPE_MISMATCH` when loss, outputs and teacher do not fit.
 */
export function buildStep(model: Model, types: ReadonlyMap<string, Typed>, options: StepOptions): StepGraph {
  const { optimizer, accumulate = 1, ema } = options
  checkLoss(options.loss)
  checkOptimizer(optimizer)
  checkClipping(options.clip ?? {})
  if (ema !== undefined && !(ema >= 0 && ema < 1))
    fail('INVALID_ARGUMENT', `Option ema: must be at least 0 and below 1; got ${ema}.`)
  const pass = buildPass(model, types, options)
  const batch = types.get(model.graph.inputs[0]!.name)!.shape[0]!
  const diagnosis = passModel(pass)
  const stage = accumulate === 1 ? inPlace(pass) : accumulated(pass, accumulate)
  const update = emitUpdates(stage, pass.model, options)
  const plan = {
    sliced: [...stage.sliced, ...update.scalars.map(({ input }) => input)],
    carried: update.pairs,
    scanned: [stage.loss, stage.correct, update.norm],
  }
  const loop = loopOver(stage.graph, plan)
  // Fixed names for what comes out, whatever the values are called inside.
  const renamed = new Map([
    [loopNames.each(stage.loss), LOSS],
    [loopNames.each(stage.correct), CORRECT],
    [loopNames.each(update.norm), GRADIENT_NORM],
  ])
  for (const node of loop.nodes) node.outputs = node.outputs.map((name) => renamed.get(name) ?? name)
  loop.outputs = loop.outputs.map((info) => ({ ...info, name: renamed.get(info.name) ?? info.name }))
  const inputs = model.graph.inputs.map(({ name }) => name)
  return {
    model: { ...pass.model, graph: loop },
    pass: diagnosis,
    inputs,
    batch,
    accumulate,
    classes: pass.classes,
    targets: pass.targets,
    teacher: pass.teacher,
    carried: update.carried,
    carriers: update.carriers,
    settings: update.settings,
    scalars: update.scalars,
    selection: pass.selection,
    gradients: pass.gradients,
    loss: pass.loss,
    types: pass.types,
  }
}

function buildPass(source: Model, given: ReadonlyMap<string, Typed>, options: StepOptions): Pass {
  const lifted = liftOpset(source, 18)
  const output = chooseOutput(lifted.graph, options.output)
  const wants = new Set(options.loss.map(needsOf))
  const teacher = teacherFor(options, wants, lifted.graph, given, output)
  const selection = selectParameters(lifted, lossSources(options, output, teacher), given, options)
  const learning = new Set(options.batchNorm === 'running' ? [] : selection.batchNorms.map(({ name }) => name))
  const norms = toTrainingBatchNorm(lifted, given, { frozen: (node) => !learning.has(node.name) })
  const { model } = norms
  const { graph } = model
  const types = new Map(norms.types)
  graph.inputs = graph.inputs.map(({ name }) => declared(name, types))
  const sliced = graph.inputs.map(({ name }) => name)
  const declare = (name: string, type: Typed): string => {
    types.set(name, type)
    graph.inputs.push(declared(name, types))
    sliced.push(name)
    return name
  }
  const logits = logitsOf(graph, output)
  const scores = types.get(output) ?? fail('INVALID_MODEL', `Output '${output}': its shape is not known.`)
  const classes = scores.shape[1] ?? 1
  const targets = wants.has('labels')
    ? declare(TARGETS, { dtype: 'float32', shape: [scores.shape[0]!, classes] })
    : undefined
  for (const { input, type } of teacher?.inputs ?? []) declare(input, type)
  const emit = new Emitter(graph, types)
  const inputs: LossInputs = {
    logits: () => rowsOfScores(emit, logits, output),
    output,
    targets,
    teacherLogits: teacher?.logits && rowsOfScores(emit, teacher.logits, output),
    teacherOutput: teacher?.output,
    features: teacher?.features ?? new Map(),
  }
  const loss = totalLoss(emit, options.loss, inputs)
  const correct = emitCorrect(emit, inputs.logits, targets ?? inputs.teacherLogits)
  graph.outputs = [loss, correct].map((name) => ({ name, type: undefined }))
  sortNodes(graph)
  learnTypes(types, graph, emit)
  const { trainable } = selection
  const result = gradient(model, {
    loss,
    withRespectTo: trainable.length > 0 ? trainable : [firstOf(selection)],
    types,
    rules: { ...options.lowering?.rules, ...options.rules },
  })
  learnTypes(types, result.model.graph, result.emit)
  const standard = options.lowering ? options.lowering.standard(result.model, types) : result.model
  const nearMeans = new Map(norms.statistics.map(({ node, runningMean }) => [node, runningMean]))
  const { model: lowered, stored } = lowerPass(result.model, types, options, { gradients: result.gradients, nearMeans })
  const orders = [...stored].flatMap(([name, { name: own, gradient, order }]) => {
    const type = { dtype: types.get(name)!.dtype, shape: storedShape(order) }
    return [[own, type] as const, [gradient, type] as const]
  })
  const passEmit = new Emitter(lowered.graph, new Map([...types, ...orders]))
  const statistics = norms.statistics.flatMap((norm) => emitStatistics(passEmit, norm))
  return {
    source: lifted.graph,
    types,
    standard: options.lowering ? standard : lowered,
    model: lowered,
    emit: passEmit,
    loss,
    correct,
    gradients: result.gradients,
    statistics,
    batchStatistics: norms.statistics,
    stored,
    sliced,
    selection,
    classes,
    targets,
    teacher,
  }
}

/** The pass as the runtime takes it. */
function lowerPass(
  model: Model,
  types: ReadonlyMap<string, Typed>,
  { lowering, lower }: StepOptions,
  context: LoweringContext,
): Lowered {
  if (lowering) return lowering.lower(model, types, context)
  return { model: lower ? lower(model, types) : model, stored: new Map() }
}

/** A parameter to ask a gradient for when none has one, so that the error says why. */
function firstOf({ unreached, frozen }: Selection): string {
  return unreached[0] ?? frozen[0] ?? ''
}

/** Adds the types of what an emitter has added to a graph. */
function learnTypes(types: Map<string, Typed>, graph: Graph, emit: Emitter): void {
  for (const name of [...graph.nodes.flatMap((node) => node.outputs), ...graph.initializers.keys()]) {
    const type = types.has(name) || name === '' ? undefined : maybeType(emit, name)
    if (type) types.set(name, type)
  }
}

function maybeType(emit: Emitter, name: string): Typed | undefined {
  try {
    return emit.type(name)
  } catch {
    return undefined
  }
}

function declared(name: string, types: ReadonlyMap<string, Typed>) {
  const type = types.get(name) ?? fail('INVALID_MODEL', `Input '${name}': its type must be known; it is not.`)
  return { name, type: tensorType(type.dtype, type.shape) }
}

function chooseOutput(graph: Graph, wanted: string | undefined): string {
  const names = graph.outputs.map(({ name }) => name)
  const chosen = wanted ?? names[0]
  if (chosen === undefined || !names.includes(chosen))
    fail(
      'NOT_FOUND',
      `Output '${wanted ?? ''}' is not one of the model's outputs: ${names.map((name) => `'${name}'`).join(', ')}.`,
    )
  return chosen
}

function teacherFor(
  options: StepOptions,
  wants: ReadonlySet<string>,
  graph: Graph,
  types: ReadonlyMap<string, Typed>,
  output: string,
): TeacherValues | undefined {
  if (!wants.has('teacher') && !wants.has('features')) return undefined
  if (!options.teacher)
    fail('INVALID_ARGUMENT', 'Loss: distillation needs a teacher. Give one, or leave such terms out of the loss.')
  return teacherValues(options.teacher, options.loss, { graph, types, output })
}

/** The values of the network that the loss is computed from. */
function lossSources({ loss }: StepOptions, output: string, teacher: TeacherValues | undefined): string[] {
  const features = [...(teacher?.features.values() ?? [])].flat().map(([student]) => student)
  return loss.some((term) => needsOf(term) !== 'features') ? [output, ...features] : features
}

/** How many samples have their highest score where the targets have it. */
function emitCorrect(emit: Emitter, scores: () => string, targets: string | undefined): string {
  if (targets === undefined) return emit.tensor(Tensor.of(Float32Array.of(0), []))
  const logits = scores()
  const [count = 1] = emit.shape(logits)
  const classOf = (rows: string): string => emit.op('ArgMax', [rows], [count], { axis: 1, keepdims: 0 }, 'int64')
  const equal = emit.op('Equal', [classOf(logits), classOf(targets)], [count], {}, 'bool')
  return emit.sum(emit.cast(equal, 'float32', 1), [0], false)
}

/** The pass alone, with parameters and statistics as inputs. */
function passModel(pass: Pass): Model {
  const graph = withInputs({ ...pass, stored: new Map() }, pass.standard.graph)
  graph.outputs = [pass.loss, ...pass.gradients.values()].map((name) => ({ name, type: undefined }))
  const model = { ...pass.standard, graph }
  removeUnusedFrom(model)
  return model
}

/** A copy of the pass's graph in which parameters and statistics are inputs. */
function withInputs(pass: Pass, source: Graph): Graph {
  const graph = { ...source, nodes: [...source.nodes], initializers: new Map(source.initializers) }
  const names = [...pass.gradients.keys(), ...pass.statistics.map(([name]) => name)]
  graph.inputs = [...graph.inputs]
  for (const name of names) {
    const tensor = graph.initializers.get(name)!
    const stored = pass.stored.get(name)
    graph.initializers.delete(name)
    const shape = stored ? storedShape(stored.order) : tensor.shape
    graph.inputs.push({ name: stored?.name ?? name, type: tensorType(tensor.dtype, shape) })
  }
  return graph
}

function inPlace(pass: Pass): Stage {
  const { emit, loss, correct, statistics, batchStatistics, sliced, source, stored } = pass
  const gradients = storedGradients(pass)
  // The emitter adds to the model's own graph.
  Object.assign(pass.model.graph, withInputs(pass, pass.model.graph))
  const { graph } = pass.model
  return { graph, emit, loss, correct, gradients, statistics, batchStatistics, sliced, source, stored }
}

/** Gradient values in the order in which the parameters are stored. */
function storedGradients({ gradients, stored }: Pass): ReadonlyMap<string, string> {
  return new Map([...gradients].map(([name, value]) => [name, stored.get(name)?.gradient ?? value]))
}

/** The pass in a loop over several batches, which adds up gradients and carries statistics on. */
function accumulated(pass: Pass, count: number): Stage {
  if (!(Number.isSafeInteger(count) && count >= 1))
    fail('INVALID_ARGUMENT', `Option accumulate: must be a whole number of at least 1; got ${count}.`)
  const { emit, model } = pass
  const share = [...storedGradients(pass)].map(([name, value]) => {
    const sum = `sum/${name}`
    return { name, sum, type: emit.type(value), value: emit.scale(value, 1 / count) }
  })
  const graph = withInputs(pass, model.graph)
  const sums: [string, string][] = share.map(({ sum, type, value }) => {
    graph.inputs.push({ name: sum, type: tensorType(type.dtype, type.shape) })
    const next = `next/${sum}`
    graph.nodes.push(createNode('Add', [sum, value], [next], {}, next))
    return [sum, next]
  })
  const inner = loopOver(graph, {
    sliced: pass.sliced,
    carried: [...sums, ...pass.statistics],
    scanned: [pass.loss, pass.correct],
  })
  const types = new Map<string, Typed>()
  const outer: Graph = { ...inner, inputs: [], outputs: [], name: 'update' }
  const turns = Tensor.int64(count)
  outer.initializers.set(loopNames.count, turns)
  for (const { name, sum, type } of share) {
    const zeros = fromNumbers(new Float32Array(sizeOf(type.shape)), type.shape, type.dtype)
    outer.initializers.set(loopNames.first(sum), zeros)
    types.set(loopNames.last(sum), type)
    const own = pass.stored.get(name)?.name ?? name
    types.set(own, type)
    outer.inputs.push({ name: own, type: tensorType(type.dtype, type.shape) })
  }
  for (const [name] of pass.statistics) {
    const type = emit.type(name)
    types.set(name, type)
    types.set(loopNames.last(name), type)
    outer.inputs.push({ name, type: tensorType(type.dtype, type.shape) })
  }
  const loop = outer.nodes.find((node) => node.opType === 'Loop')!
  const statistics = new Set(pass.statistics.map(([name]) => name))
  loop.inputs = loop.inputs.map((name) => [...statistics].find((own) => loopNames.first(own) === name) ?? name)
  const sliced = pass.sliced.map((name) => {
    const input = loopNames.stacked(name)
    const type = { ...emit.type(name), shape: [count, ...emit.shape(name)] }
    types.set(input, type)
    outer.inputs.push({ name: input, type: tensorType(type.dtype, type.shape) })
    return input
  })
  for (const value of [pass.loss, pass.correct]) types.set(loopNames.each(value), { dtype: 'float32', shape: [count] })
  const stageEmit = new Emitter(outer, types)
  return {
    graph: outer,
    emit: stageEmit,
    loss: stageEmit.scale(stageEmit.sum(loopNames.each(pass.loss), [0], false), 1 / count),
    correct: stageEmit.sum(loopNames.each(pass.correct), [0], false),
    gradients: new Map(share.map(({ name, sum }) => [name, loopNames.last(sum)])),
    statistics: pass.statistics.map(([name]) => [name, loopNames.last(name)]),
    batchStatistics: [],
    sliced,
    source: pass.source,
    stored: pass.stored,
  }
}
