/**
 * A network in training: its weights, and a session that takes them any number of steps further.
 *
 * State goes round as tensors of the engine's own making: it is never read or written here, and copied out of the engine
 * once per run, however many steps that takes.
 */
import type { Typed } from '../autodiff/index.ts'
import { fail } from '../core/index.ts'
import type { Evaluator, Executable, Model, TensorMap } from '../graph/index.ts'
import { byteLengthOf, sizeOf, Tensor, toFloat32 } from '../tensor/index.ts'
import { loopNames } from './loop.ts'
import { blockedLowering, blockSize } from './lowering/index.ts'
import { scalarsAt } from './optimizer.ts'
import { loweringFor } from './runtime-forms.ts'
import { buildStep, CORRECT, GRADIENT_NORM, LOSS, type StepGraph, TARGETS } from './step-graph.ts'
import type { StepOptions } from './step-options.ts'
import { pack, unpack } from './stored.ts'
import { targetRows } from './targets.ts'

/** Options of {@link createTrainingStep}. */
export interface TrainingStepOptions extends StepOptions {
  /** Element types and shapes of the model's values for the batch to train with, as `observeShapes` gives them. */
  readonly types: ReadonlyMap<string, Typed>
  /**
   * Kernels of the runtime's own beside standard operators, where this processor has them: 1.1 to 1.6 times as fast, the
   * same numbers up to rounding. Default: `'native'`.
   */
  readonly kernels?: 'native' | 'standard' | undefined
}

/** What steps give. */
export interface StepResult {
  /** Loss of each step, before its update. */
  readonly losses: Float32Array
  /** Samples of each step whose highest score is where the label (without labels: the teacher) has it. */
  readonly correct: Float32Array
  /** Norm of all gradients of each step together, before it was clipped. */
  readonly gradientNorms: Float32Array
}

/** Everything that a run of steps starts from, by name; see {@link TrainingStep.state}. */
export interface TrainingState {
  /** Steps done. */
  readonly step: number
  readonly tensors: ReadonlyMap<string, Tensor>
}

/** Samples of one or several steps. */
export interface StepSamples {
  /** One tensor per model input, `[steps · accumulate · batch, …]`. */
  readonly inputs: readonly Tensor[]
  /** Class indices, or rows `[steps · accumulate · batch, C]` that sum to 1; absent when the loss uses no labels. */
  readonly labels?: Int32Array | Tensor | undefined
}

/** A network in training. */
export interface TrainingStep {
  readonly graph: StepGraph
  /** Samples of one step: batch times accumulation. */
  readonly samplesPerStep: number
  /** Takes one step. @param lr the step's learning rate. */
  step(
    inputs: readonly Tensor[],
    labels: Int32Array | Tensor | undefined,
    lr: number,
  ): Promise<{ loss: number; correct: number; accuracy: number }>
  /**
   * Takes as many steps as there are learning rates, in one run of the engine.
   *
   * @throws WhittleError `SHAPE_MISMATCH` when the samples are not those of so many steps; `INVALID_DATA` for labels out
   *   of range; `ENGINE`.
   */
  steps(samples: StepSamples, rates: readonly number[]): Promise<StepResult>
  /** Where the training stands; tensors stay as they are, and those that the loop has in another order wait to be read. */
  state(): TrainingState
  /** Goes on from a state. @throws WhittleError `SHAPE_MISMATCH` when it belongs to another network or options. */
  restore(state: TrainingState): void
  /** Weights and running statistics by the names of the model's initializers; averaged ones where there are averages. */
  weights(which?: 'current' | 'average'): ReadonlyMap<string, Tensor>
  /** The teacher's values for samples of whole batches, as inputs of the graph, stacked by batch. */
  teach(inputs: readonly Tensor[]): Promise<TensorMap>
  release(): Promise<void>
}

/**
 * Builds and loads a training step.
 *
 * @param model of opset 7 or later, constants as initializers; batch normalisations in inference form learn statistics.
 * @throws WhittleError as {@link buildStep}; `ENGINE` when the runtime refuses the graph.
 * @example
 * const types = await observeShapes(evaluator, model, { inputShapes: { input: [64, 3, 32, 32] } })
 * const training = await createTrainingStep(evaluator, model, {
 *   types, loss: [{ kind: 'cross-entropy' }], optimizer: { kind: 'sgd', momentum: 0.9 },
 * })
 * const { loss, accuracy } = await training.step([pictures], labels, 0.1)
 */
export async function createTrainingStep(
  evaluator: Evaluator,
  model: Model,
  options: TrainingStepOptions,
): Promise<TrainingStep> {
  const block = options.kernels === 'standard' || options.lower ? undefined : await blockSize(evaluator)
  const lowering = options.lowering ?? (block === undefined ? undefined : blockedLowering(block))
  const lower = await loweringFor(evaluator, model, options)
  const graph = buildStep(model, options.types, { ...options, lower, lowering })
  // Constant weights make the teacher a session of the fast kind; see docs/performance.md for one against two.
  const teacher = graph.teacher && (await evaluator.load(graph.teacher.model))
  try {
    const session = await evaluator.load(graph.model, { optimization: 'basic' })
    return new GraphTraining(graph, options, session, teacher)
  } catch (error) {
    await teacher?.release()
    // The standard form runs everywhere; if it does not either, its error is the one to show.
    if (block !== undefined && !options.lowering)
      return createTrainingStep(evaluator, model, { ...options, kernels: 'standard' })
    throw error
  }
}

class GraphTraining implements TrainingStep {
  readonly graph: StepGraph
  readonly samplesPerStep: number
  readonly #options: StepOptions
  readonly #session: Executable
  readonly #teacher: Executable | undefined
  #step = 0
  /** By carrier. */
  #tensors: Map<string, Tensor>
  /** By name, as the model has them; made when they are asked for. */
  #members: ReadonlyMap<string, Tensor> | undefined

  constructor(graph: StepGraph, options: StepOptions, session: Executable, teacher: Executable | undefined) {
    this.graph = graph
    this.samplesPerStep = graph.batch * graph.accumulate
    this.#options = options
    this.#session = session
    this.#teacher = teacher
    const initial = new Map(
      graph.carried.map(({ name, role, initial: { dtype, shape, size }, initial: given }) => {
        const zeros = (): Tensor => Tensor.fromBytes(dtype, shape, new Uint8Array(byteLengthOf(dtype, size)))
        return [name, role === 'state' ? zeros() : given]
      }),
    )
    this.#tensors = packed(graph, initial)
  }

  async step(inputs: readonly Tensor[], labels: Int32Array | Tensor | undefined, lr: number) {
    const { losses, correct } = await this.steps({ inputs, labels }, [lr])
    return { loss: losses[0]!, correct: correct[0]!, accuracy: correct[0]! / this.samplesPerStep }
  }

  async steps(samples: StepSamples, rates: readonly number[]): Promise<StepResult> {
    const { graph } = this
    const feeds: Record<string, Tensor> = { [loopNames.count]: Tensor.int64(rates.length) }
    const rows = rates.length * this.samplesPerStep
    const put = (name: string, tensor: Tensor): void => {
      if (tensor.shape[0] !== rows)
        fail(
          'SHAPE_MISMATCH',
          `Training step: ${rates.length} steps of ${this.samplesPerStep} samples need ${rows} rows of '${name}'; got ${tensor.shape[0]}.`,
        )
      feeds[stackedName(name, graph.accumulate)] = tensor.reshape(this.#stacked(rates.length, tensor.shape.slice(1)))
    }
    for (const [at, name] of graph.inputs.entries()) put(name, samples.inputs[at] ?? noSamples(name))
    if (graph.targets !== undefined) put(TARGETS, this.#targets(samples.labels))
    if (graph.teacher) for (const [name, tensor] of Object.entries(await this.teach(samples.inputs))) put(name, tensor)
    const settings = graph.settings.map((group) =>
      rates.map((rate, at) => scalarsAt(this.#options.optimizer, group, this.#step + at, rate)),
    )
    for (const { input, name, group } of graph.scalars)
      feeds[loopNames.stacked(input)] = Tensor.of(
        Float32Array.from(settings[group]!, (scalars) => scalars[name]),
        [rates.length],
      )
    for (const { name } of graph.carriers) feeds[loopNames.first(name)] = this.#tensors.get(name)!
    const results = await this.#session.run(feeds)
    this.#tensors = new Map(graph.carriers.map(({ name }) => [name, results[loopNames.last(name)]!]))
    this.#members = undefined
    this.#step += rates.length
    return {
      losses: toFloat32(results[LOSS]!),
      correct: toFloat32(results[CORRECT]!),
      gradientNorms: toFloat32(results[GRADIENT_NORM]!),
    }
  }

  /** `[steps, …]`, `[steps, accumulate, …]`: the axes in front of one batch, and its own. */
  #stacked(steps: number, sample: readonly number[]): number[] {
    const { accumulate, batch } = this.graph
    return accumulate === 1 ? [steps, batch, ...sample] : [steps, accumulate, batch, ...sample]
  }

  #targets(labels: Int32Array | Tensor | undefined): Tensor {
    if (labels === undefined)
      fail(
        'INVALID_DATA',
        'Training step: the loss uses labels; the samples have none. Give labels, or a loss without.',
      )
    if (labels instanceof Tensor) return labels
    return targetRows(labels, this.graph.classes)
  }

  async teach(inputs: readonly Tensor[]): Promise<TensorMap> {
    const { teacher, batch } = this.graph
    const results: Record<string, Tensor> = {}
    if (!teacher || !this.#teacher) return results
    const count = inputs[0]!.shape[0]!
    const parts = new Map<string, Tensor[]>(teacher.inputs.map(({ input }) => [input, []]))
    for (let start = 0; start < count; start += batch) {
      const feeds: Record<string, Tensor> = {}
      for (const { input, from } of teacher.sources) feeds[input] = rowsOf(inputs[from]!, start, batch)
      const values = await this.#teacher.run(feeds)
      for (const { input, output } of teacher.inputs) parts.get(input)!.push(values[output]!)
    }
    for (const [input, tensors] of parts) results[input] = joined(tensors)
    return results
  }

  state(): TrainingState {
    return { step: this.#step, tensors: this.#current() }
  }

  restore({ step, tensors }: TrainingState): void {
    const next = new Map<string, Tensor>()
    for (const { name, initial } of this.graph.carried) {
      const tensor = tensors.get(name)
      if (!tensor || tensor.dtype !== initial.dtype || tensor.shape.join() !== initial.shape.join())
        fail(
          'SHAPE_MISMATCH',
          `Training state: '${name}' must be ${initial.dtype} [${initial.shape.join(', ')}]; ` +
            `${tensor ? `it is ${tensor.dtype} [${tensor.shape.join(', ')}]` : 'it is missing'}. The state is of another training.`,
        )
      next.set(name, tensor)
    }
    this.#step = step
    this.#tensors = packed(this.graph, next)
    this.#members = next
  }

  #current(): ReadonlyMap<string, Tensor> {
    const { carriers, carried } = this.graph
    if (!this.#members) {
      const all = new Map(carriers.flatMap((carrier) => unpack(carrier, this.#tensors.get(carrier.name)!)))
      this.#members = new Map(carried.map(({ name }) => [name, all.get(name)!]))
    }
    return this.#members
  }

  weights(which: 'current' | 'average' = 'current'): ReadonlyMap<string, Tensor> {
    const averaged = which === 'average' && this.#options.ema !== undefined
    const tensors = this.#current()
    const roles = averaged ? ['average'] : ['parameter', 'statistic']
    return new Map(
      this.graph.carried.filter(({ role }) => roles.includes(role)).map(({ name, of }) => [of, tensors.get(name)!]),
    )
  }

  async release(): Promise<void> {
    await this.#session.release()
    await this.#teacher?.release()
  }
}

function packed({ carriers }: StepGraph, tensors: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  return new Map(carriers.map((carrier) => [carrier.name, pack(carrier, (name) => tensors.get(name)!)]))
}

function stackedName(name: string, accumulate: number): string {
  return loopNames.stacked(accumulate === 1 ? name : loopNames.stacked(name))
}

function noSamples(name: string): never {
  return fail('INVALID_ARGUMENT', `Training step: input '${name}' needs samples; it got none.`)
}

/** Rows of the first axis as a view. */
export function rowsOf(tensor: Tensor, start: number, count: number): Tensor {
  const rowBytes = byteLengthOf(tensor.dtype, sizeOf(tensor.shape.slice(1)))
  const bytes = tensor.bytes.subarray(start * rowBytes, (start + count) * rowBytes)
  return Tensor.fromBytes(tensor.dtype, [count, ...tensor.shape.slice(1)], bytes)
}

/** Tensors below one another along the first axis. */
export function joined(tensors: readonly Tensor[]): Tensor {
  const first = tensors[0]!
  if (tensors.length === 1) return first
  const rows = tensors.reduce((sum, tensor) => sum + tensor.shape[0]!, 0)
  const bytes = new Uint8Array(tensors.reduce((sum, tensor) => sum + tensor.byteLength, 0))
  let at = 0
  for (const tensor of tensors) {
    bytes.set(tensor.bytes, at)
    at += tensor.byteLength
  }
  return Tensor.fromBytes(first.dtype, [rows, ...first.shape.slice(1)], bytes)
}
