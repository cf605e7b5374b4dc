/**
 * The guard on speed: a quantized network is measured beside its float original, in turns, on the runtime at hand; what
 * makes it slower goes back to float, and all of it when nothing helps.
 */
import { applyQuantize, type QuantizePlan, type Skip } from '../compress/index.ts'
import { checkAborted, fail, type TaskOptions, VERSION } from '../core/index.ts'
import { benchmark, type InputShapeOptions } from '../engine/index.ts'
import { GraphIndex, intAttribute, type Model, type Node } from '../graph/index.ts'
import {
  finishQuantization,
  planFrom,
  type QuantizationBasis,
  type Quantized,
  type QuantizeOptions,
  quantizationBasis,
  quantize,
} from './quantize.ts'
import type { Runtime } from './runtime.ts'

/** How speed is measured. */
export interface SpeedOptions extends InputShapeOptions, TaskOptions {
  /** Time that one comparison may take, in milliseconds; default 500. Every network runs at least five times. */
  readonly budget?: number | undefined
}

/** Two networks side by side, least times of one run in milliseconds. */
export type SpeedComparison = {
  readonly float: number
  readonly quantized: number
  /** `float / quantized`; above 1 the quantized one is faster. */
  readonly speedup: number
}

/** Layers that were tried in float. */
export type SpeedTrial = {
  /** What they have in common, e.g. `Add` or `depthwise Conv`. */
  readonly group: string
  readonly nodes: readonly string[]
  /** Milliseconds of the network with them in integers, and with them in float. */
  readonly before: number
  readonly after: number
  readonly rolledBack: boolean
}

/** What the guard found and did. */
export type SpeedGuardRecord = {
  readonly comparison: SpeedComparison
  readonly trials: readonly SpeedTrial[]
  /** Nodes that went back to float because they were slower in integers. */
  readonly rolledBack: readonly Skip[]
  /** Why the whole network stayed in float; `null` when it did not. */
  readonly kept: string | null
}

/** What {@link quantizeGuarded} returns. */
export interface QuantizedGuarded extends Quantized {
  readonly speed: SpeedGuardRecord
}

const LEAST_RUNS = 5
const MOST_RUNS = 50
/** Networks that are this much faster are not searched for slow parts. */
const CLEARLY_FASTER = 1.5
/** What a group has to bring to be rolled back: a part of the network's time that noise does not reach. */
const GAIN = 0.03

/**
 * Measures two networks in turns until time is up.
 *
 * @throws WhittleError `INVALID_ARGUMENT` for open input shapes, `ENGINE`, `ABORTED`.
 */
export async function compareSpeed(
  float: Model,
  quantized: Model,
  { evaluator }: Pick<Runtime, 'evaluator'>,
  options: SpeedOptions = {},
): Promise<SpeedComparison> {
  const { budget = 500, ...rest } = options
  const subjects = [
    { name: 'float', model: float },
    { name: 'quantized', model: quantized },
  ]
  const [a, b] = await benchmark(evaluator, subjects, { ...rest, runs: LEAST_RUNS, warmup: 1 })
  let [floatLeast, quantizedLeast] = [a!.milliseconds.min, b!.milliseconds.min]
  const spent = LEAST_RUNS * (a!.milliseconds.median + b!.milliseconds.median)
  const runs = Math.min(MOST_RUNS, Math.floor(((budget - spent) / spent) * LEAST_RUNS))
  if (runs >= 1) {
    const [c, d] = await benchmark(evaluator, subjects, { ...rest, runs, warmup: 1 })
    floatLeast = Math.min(floatLeast, c!.milliseconds.min)
    quantizedLeast = Math.min(quantizedLeast, d!.milliseconds.min)
  }
  return { float: floatLeast, quantized: quantizedLeast, speedup: floatLeast / quantizedLeast }
}

/**
 * Quantizes a model as `quantize` does, and rolls back what got slower on the runtime at hand: groups of layers when
 * the network is not clearly faster, all of it when it is slower than the original in the end.
 *
 * @returns as `quantize`, with what was measured; the model is the original itself where nothing was gained.
 * @throws WhittleError as `quantize`; `INVALID_ARGUMENT` for weights alone, which are about size.
 */
export async function quantizeGuarded(
  model: Model,
  options: QuantizeOptions & { readonly speed?: SpeedOptions | undefined },
  runtime: Pick<Runtime, 'evaluator'>,
): Promise<QuantizedGuarded> {
  if (options.activations === 'none')
    fail('INVALID_ARGUMENT', 'The guard on speed: is for quantized activations; weights alone are about size.')
  const { inputShapes, signal, onProgress } = options
  const speed = { inputShapes, signal, onProgress, ...options.speed }
  const result = await quantize(model, options, runtime)
  const comparison = await compareSpeed(model, result.model, runtime, speed)
  if (comparison.speedup >= CLEARLY_FASTER)
    return withSpeed(result, { comparison, trials: [], rolledBack: [], kept: null })
  // Layers in float ask for ranges that a plan of all layers does without.
  const basis = await quantizationBasis(model, { ...options, complete: true }, runtime)
  const search = new SlowGroups(basis, model, options, speed, runtime)
  const found = await search.run()
  if (found.comparison.speedup <= 1) return keepOriginal(model, result, found)
  const excluded = new Map([
    ...(options.excluded ?? []),
    ...found.rolledBack.map(({ name, reason }) => [name, reason] as const),
  ])
  const { applied: _, ...finished } = await finishQuantization(
    basis,
    planFrom(basis, { excluded }),
    { ...options, excluded },
    runtime,
  )
  return withSpeed(finished, found)
}

/**
 * Measures a quantized model beside its original, and gives the original back when that is faster.
 *
 * @throws WhittleError as {@link compareSpeed}.
 */
export async function guardSpeed<Q extends Quantized>(
  model: Model,
  quantized: Q,
  runtime: Pick<Runtime, 'evaluator'>,
  options: SpeedOptions = {},
): Promise<QuantizedGuarded> {
  const comparison = await compareSpeed(model, quantized.model, runtime, options)
  const found = { comparison, trials: [], rolledBack: [], kept: null }
  return comparison.speedup > 1 ? withSpeed(quantized, found) : keepOriginal(model, quantized, found)
}

function withSpeed(result: Quantized, speed: SpeedGuardRecord): QuantizedGuarded {
  const measurement = {
    metric: 'milliseconds',
    before: speed.comparison.float,
    after: speed.comparison.quantized,
    data: 'random inputs, least of several runs in turns',
    samples: 1,
    command: 'quantize',
  }
  const { record } = result
  return { ...result, record: { ...record, measured: [...record.measured, measurement] }, speed }
}

/** The original in the place of a quantized network that is slower. */
function keepOriginal(
  model: Model,
  { plan, record, findings }: Quantized,
  found: Omit<SpeedGuardRecord, 'kept'>,
): QuantizedGuarded {
  const { float, quantized } = found.comparison
  const tried = found.trials.length > 0 ? ', and no group of layers in float makes it faster' : ''
  const kept = `Nothing was quantized: a run takes ${shown(quantized)} in integers and ${shown(float)} in float on this machine${tried}.`
  const skips = [
    ...record.skips,
    ...record.layers.map(({ name }) => ({ name, reason: 'The network is not faster in integers here.' })),
  ]
  const nothing = { ...plan, steps: [], skips, warnings: [...plan.warnings, kept] } as QuantizePlan
  const result: Quantized = {
    model,
    plan: nothing,
    findings,
    record: {
      ...record,
      whittle: VERSION,
      plan: nothing,
      after: record.before,
      layers: [],
      skips,
      warnings: [...record.warnings, kept],
    },
  }
  return withSpeed(result, { ...found, kept })
}

const shown = (milliseconds: number): string => `${Number(milliseconds.toPrecision(3))} ms`

/** Tries groups of layers in float, one after the other, and keeps what makes the network faster. */
class SlowGroups {
  readonly #basis: QuantizationBasis
  readonly #original: Model
  readonly #excluded: Map<string, string>
  readonly #speed: SpeedOptions
  readonly #runtime: Pick<Runtime, 'evaluator'>

  constructor(
    basis: QuantizationBasis,
    original: Model,
    options: QuantizeOptions,
    speed: SpeedOptions,
    runtime: Pick<Runtime, 'evaluator'>,
  ) {
    this.#basis = basis
    this.#original = original
    this.#excluded = new Map(options.excluded ?? [])
    this.#speed = speed
    this.#runtime = runtime
  }

  async run(): Promise<Omit<SpeedGuardRecord, 'kept'> & { readonly kept: null }> {
    const rolledBack: Skip[] = []
    const trials: SpeedTrial[] = []
    let current = this.#model(this.#excluded)
    for (const [group, nodes] of this.#groups()) {
      checkAborted(this.#speed.signal)
      const reasons = new Map([...this.#excluded, ...nodes.map((name) => [name, 'It is tried in float.'] as const)])
      const candidate = this.#maybeModel(reasons)
      if (!candidate) continue
      const { before, after } = await this.#compare(current, candidate)
      const isFaster = after < before * (1 - GAIN)
      trials.push({ group, nodes, before, after, rolledBack: isFaster })
      if (!isFaster) continue
      const reason = `${group} is slower in integers here: with ${nodes.length === 1 ? 'it' : `all ${nodes.length}`} in float a run takes ${shown(after)} instead of ${shown(before)}.`
      for (const name of nodes) {
        this.#excluded.set(name, reason)
        rolledBack.push({ name, reason })
      }
      current = candidate
    }
    const comparison = await compareSpeed(this.#original, current, this.#runtime, this.#speed)
    return { comparison, trials, rolledBack, kept: null }
  }

  /** Least times of both; what looks like a gain is measured twice. */
  async #compare(current: Model, candidate: Model): Promise<{ before: number; after: number }> {
    let { float: before, quantized: after } = await compareSpeed(current, candidate, this.#runtime, this.#speed)
    if (after < before * (1 - GAIN)) {
      const again = await compareSpeed(current, candidate, this.#runtime, this.#speed)
      before = Math.min(before, again.float)
      after = Math.min(after, again.quantized)
    }
    return { before, after }
  }

  #model(excluded: ReadonlyMap<string, string>): Model {
    return applyQuantize(this.#basis.model, planFrom(this.#basis, { excluded })).model
  }

  /** The network with nodes in float; `undefined` when no layer would be left in integers. */
  #maybeModel(excluded: ReadonlyMap<string, string>): Model | undefined {
    const { nodes } = this.#basis.calibrated.quantizable
    const layers = nodes.filter(({ weight, name }) => weight && !excluded.has(name))
    return layers.length === 0 ? undefined : this.#model(excluded)
  }

  /** Quantized nodes by what they have in common, those that are no layers first. */
  #groups(): Map<string, string[]> {
    const index = new GraphIndex(this.#basis.model.graph)
    const groups = new Map<string, string[]>()
    const nodes = this.#basis.calibrated.quantizable.nodes.filter(({ name }) => !this.#excluded.has(name))
    const ordered = [...nodes.filter(({ role }) => role !== 'layer'), ...nodes.filter(({ role }) => role === 'layer')]
    for (const { name, op, role } of ordered) {
      if (role === 'moved' || role === 'clipped') continue
      const group = groupOf(index.node(name)!, op, index)
      groups.set(group, [...(groups.get(group) ?? []), name])
    }
    return groups
  }
}

/** The operator, and for convolutions what decides on their kernel: channels per group, and few of them. */
function groupOf(node: Node, op: string, index: GraphIndex): string {
  const weight = index.constant(node.inputs[1] ?? '')
  if (op !== 'Conv' || !weight) return op
  const perGroup = weight.shape[1]!
  if (intAttribute(node, 'group', 1) > 1) return perGroup === 1 ? 'depthwise Conv' : 'grouped Conv'
  return Math.min(perGroup, weight.shape[0]!) < NARROW ? 'Conv of few channels' : 'Conv'
}

/** Channels below which products of 8 bits have no full register to work on. */
const NARROW = 16
