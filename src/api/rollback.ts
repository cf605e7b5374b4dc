/**
 * Quantization within a limit on what accuracy may be lost: layers are rolled back to floating point until it holds.
 *
 * Activations are calibrated once; every candidate is planned from these ranges, applied, and evaluated as it will be
 * deployed. What comes out was evaluated itself.
 */
import {
  applyQuantize,
  type CompressionRecord,
  INTEGER_TYPES,
  type QuantizePlan,
  quantizationSimilarity,
  type RollbackLayer,
  type RollbackOutcome,
  type RollbackProblem,
  type RollbackRecord,
  type RollbackStrategy,
  searchByRanking,
  searchGreedily,
  type Verdict,
} from '../compress/index.ts'
import { checkAborted, fail, type Json } from '../core/index.ts'
import { compareLayers, DifferenceSums } from '../engine/index.ts'
import { type Model, modelCost, type TensorMap } from '../graph/index.ts'
import {
  chooseIntegers,
  finishQuantization,
  planFrom,
  type QuantizationBasis,
  type Quantized,
  type QuantizeOptions,
  quantizationBasis,
} from './quantize.ts'
import type { Evaluation } from './rollback-evaluation.ts'
import { PlanRounding } from './rounding.ts'
import type { Runtime } from './runtime.ts'

/** Options of {@link quantizeWithin}. */
export interface RollbackOptions {
  /** Percentage points that the metric may lose; default 0.5. */
  readonly maxDrop?: number | undefined
  /** Measures a model on data that calibration has not seen; see `top1Evaluation`. */
  readonly evaluation: Evaluation
  /**
   * How layers to roll back are looked for; default `greedy`: by measured gain per bit operation. `binary-search` is
   * AMCT's: the number of layers with the least similarity. Or a strategy of one's own, in AMCT's form.
   */
  readonly strategy?: 'greedy' | 'binary-search' | RollbackStrategy | undefined
  /** Judges an accuracy against the original's; default: the drop is at most `maxDrop`. */
  readonly judge?: ((original: number, found: number) => Verdict) | undefined
  /** Measures how similar a layer's outputs are before and after, from sums over one batch; default AMCT's cosine. */
  readonly similarity?: typeof quantizationSimilarity | undefined
  /** Of `greedy`: evaluations at most; default 16. */
  readonly maxEvaluations?: number | undefined
  /** Of `greedy`: calibration samples that each layer's damage is measured on; default 128. */
  readonly sensitivitySamples?: number | undefined
}

/** What {@link quantizeWithin} returns. */
export interface QuantizedWithin extends Quantized {
  readonly plan: QuantizePlan
  /** The float network that the plan is for. */
  readonly float: Model
  readonly record: CompressionRecord & { readonly rollback: RollbackRecord }
}

/** Percentage points that may be lost unless told otherwise, as in AMCT's samples. */
export const MAX_DROP = 0.5
const SENSITIVITY_SAMPLES = 128
/** Floats of a share compare unequal in the last bits. */
const SLACK = 1e-9

/**
 * Quantizes a model and rolls layers back until the metric is within the limit.
 *
 * Layers that share what they measure with nobody (`Add`, pooling) follow the layers around them.
 *
 * @throws WhittleError `CHECK_FAILED` when the limit holds only with every layer rolled back, with the
 *   {@link RollbackRecord} as details; otherwise as `quantize`.
 */
export async function quantizeWithin(
  model: Model,
  options: QuantizeOptions & RollbackOptions,
  runtime: Pick<Runtime, 'evaluator'>,
): Promise<QuantizedWithin> {
  const { data, evaluation, onProgress, signal } = options
  if (options.activations === 'none' || !data)
    fail('INVALID_ARGUMENT', 'Roll-back: works on quantized activations, which need data to calibrate with. Give some.')
  const maxDrop = options.maxDrop ?? MAX_DROP
  if (!(maxDrop >= 0)) fail('INVALID_ARGUMENT', `Option maxDrop: must be at least 0 percentage points; got ${maxDrop}.`)
  // Integers that make up for errors of the layers before would be wrong as soon as these are rolled back.
  const rounding = new PlanRounding({ inputs: 'original' })
  const basis = { ...(await quantizationBasis(model, { ...options, complete: true }, runtime)), rounding }
  // Once, with every layer quantized: all candidates have these integers.
  await chooseIntegers(basis, planFrom(basis), options, runtime)
  const trials = new Trials(basis, data, options, runtime)
  onProgress?.({ stage: 'evaluate the original', done: 0 })
  const original = await evaluation.measure(model, { signal })
  const limited = (from: number, found: number): Verdict => {
    const loss = (from - found) * 100
    return { satisfied: loss <= maxDrop + SLACK, loss }
  }
  const problem: RollbackProblem<number> = {
    layers: trials.layers,
    original,
    judge: options.judge ?? limited,
    evaluate: (rolledBack) => trials.evaluate(rolledBack),
  }
  const outcome = await search(problem, trials, options, maxDrop)
  const rollback: RollbackRecord = {
    strategy: strategyName(options.strategy),
    maxDrop: options.judge ? null : maxDrop,
    metric: evaluation.metric,
    layers: trials.layers.map(({ name }) => name),
    ...outcome,
  }
  if (outcome.status === 'original') fail('CHECK_FAILED', nothingLeft(rollback), { details: asJson(rollback) })
  const excluded = trials.excluded(new Set(outcome.rolledBack))
  const finished = await finishQuantization(basis, planFrom(basis, { excluded }), { ...options, excluded }, runtime)
  const measurement = {
    metric: evaluation.metric,
    before: original,
    after: outcome.final,
    data: evaluation.data,
    samples: evaluation.samples,
    command: 'quantize',
  }
  const { record } = finished
  return {
    model: finished.model,
    float: finished.float ?? basis.model,
    plan: finished.plan,
    findings: finished.findings,
    record: { ...record, measured: [...record.measured, measurement], rollback },
  }
}

function search(
  problem: RollbackProblem<number>,
  trials: Trials,
  options: RollbackOptions,
  maxDrop: number,
): Promise<RollbackOutcome<number>> {
  const { strategy = 'greedy', judge, maxEvaluations } = options
  if (strategy === 'greedy')
    return searchGreedily(problem, {
      damage: (rolledBack) => trials.damage(rolledBack),
      limit: judge ? undefined : maxDrop,
      maxEvaluations,
    })
  return searchByRanking(problem, {
    ranking: () => trials.similarities(options.similarity ?? quantizationSimilarity),
    strategy: strategy === 'binary-search' ? undefined : strategy,
  })
}

const strategyName = (strategy: RollbackOptions['strategy'] = 'greedy'): string =>
  typeof strategy === 'string' ? strategy : 'custom'

const asJson = (record: RollbackRecord): Json => JSON.parse(JSON.stringify(record))

function nothingLeft({ metric, maxDrop, original, quantized }: RollbackRecord): string {
  const percent = (share: number): string => `${(share * 100).toFixed(2)} %`
  const limit = maxDrop === null ? 'The accuracy' : `A drop of ${maxDrop} points of ${metric}`
  return (
    `${limit}: must hold with some layers quantized; it holds only with all of them rolled back ` +
    `(original ${percent(original)}, all quantized ${percent(quantized)}), so that there is nothing to write. ` +
    'Allow a larger drop, more bits, or another calibration.'
  )
}

/** Candidates of one model: made from one calibration, evaluated and measured. */
class Trials {
  readonly layers: readonly RollbackLayer[]
  readonly #basis: QuantizationBasis
  readonly #data: () => AsyncIterable<TensorMap>
  readonly #options: QuantizeOptions & RollbackOptions
  readonly #runtime: Pick<Runtime, 'evaluator'>
  #reference: { feeds: TensorMap; outputs: TensorMap }[] | undefined
  #evaluations = 0
  #probes = 0

  constructor(
    basis: QuantizationBasis,
    data: () => AsyncIterable<TensorMap>,
    options: QuantizeOptions & RollbackOptions,
    runtime: Pick<Runtime, 'evaluator'>,
  ) {
    this.#basis = basis
    this.#data = data
    this.#options = options
    this.#runtime = runtime
    const macs = modelCost(basis.model, basis.calibrated.shapes).perNode
    const nodes = basis.calibrated.quantizable.nodes.filter(({ role }) => role === 'layer')
    const weightBits = new Map(
      planFrom(basis).steps.map(({ node, weight }) => [node, weight?.quantization.bits ?? 8] as const),
    )
    const activationBits = bitsOfActivations(options)
    this.layers = nodes.map(({ name }) => ({
      name,
      cost: Math.max(macs.get(name)?.macs ?? 1, 1) * (32 * 32 - (weightBits.get(name) ?? 8) * activationBits),
    }))
  }

  /** Reasons for the plan's skips. */
  excluded(rolledBack: ReadonlySet<string>): ReadonlyMap<string, string> {
    const reasons = [...(this.#basis.planOptions.excluded ?? [])]
    return new Map([...reasons, ...[...rolledBack].map((name) => [name, 'It is rolled back, for accuracy.'] as const)])
  }

  async evaluate(rolledBack: ReadonlySet<string>): Promise<number> {
    const { onProgress, signal, evaluation } = this.#options
    checkAborted(signal)
    const done = ++this.#evaluations
    onProgress?.({ stage: 'roll-back', done, item: `${rolledBack.size} of ${this.layers.length} layers rolled back` })
    return evaluation.measure(await this.#model(rolledBack), { signal })
  }

  /** Relative squared error of the outputs, mean over outputs, on some of the calibration samples. */
  async damage(rolledBack: ReadonlySet<string>): Promise<number> {
    const { onProgress, signal } = this.#options
    checkAborted(signal)
    onProgress?.({ stage: 'sensitivity', done: ++this.#probes, total: this.layers.length })
    this.#reference ??= await this.#runReference()
    const sums = new Map<string, DifferenceSums>()
    const executable = await this.#runtime.evaluator.load(this.#apply(rolledBack))
    try {
      for (const { feeds, outputs } of this.#reference) {
        const found = await executable.run(feeds)
        for (const [name, tensor] of Object.entries(outputs)) {
          if (tensor.dtype === 'string') continue
          const sum = sums.get(name) ?? new DifferenceSums()
          sums.set(name, sum)
          sum.add(tensor, found[name]!)
        }
      }
    } finally {
      await executable.release()
    }
    const errors = [...sums].map(([name, sum]) => sum.result(name).relativeError ** 2)
    return errors.reduce((total, error) => total + error, 0) / Math.max(errors.length, 1)
  }

  /** AMCT's ranking: each layer's own output before and after, on the original's values, averaged over batches. */
  async similarities(measure: typeof quantizationSimilarity): Promise<Map<string, number>> {
    const { signal, onProgress } = this.#options
    const found = new Map<string, { sum: number; batches: number }>()
    await compareLayers(this.#runtime.evaluator, this.#basis.model, this.#apply(new Set()), this.#data(), {
      bare: true,
      aloneOnly: true,
      only: new Set(this.layers.map(({ name }) => name)),
      signal,
      onProgress,
      onBatch: (layer, sums) => {
        const { sum, batches } = found.get(layer) ?? { sum: 0, batches: 0 }
        found.set(layer, { sum: sum + measure(sums), batches: batches + 1 })
      },
    })
    return new Map(
      this.layers.map(({ name }) => {
        const { sum = 1, batches = 1 } = found.get(name) ?? {}
        return [name, sum / batches]
      }),
    )
  }

  #apply(rolledBack: ReadonlySet<string>): Model {
    if (rolledBack.size === this.layers.length) return this.#basis.model
    const plan = planFrom(this.#basis, { excluded: this.excluded(rolledBack) })
    return applyQuantize(this.#basis.model, plan, { rounded: this.#basis.rounding.for(plan) }).model
  }

  /** What would be deployed. */
  async #model(rolledBack: ReadonlySet<string>): Promise<Model> {
    if (!this.#options.correctBiases) return this.#apply(rolledBack)
    const excluded = this.excluded(rolledBack)
    const { signal } = this.#options
    const options = { ...this.#options, excluded, signal, onProgress: undefined }
    return (await finishQuantization(this.#basis, planFrom(this.#basis, { excluded }), options, this.#runtime)).model
  }

  async #runReference(): Promise<{ feeds: TensorMap; outputs: TensorMap }[]> {
    const wanted = this.#options.sensitivitySamples ?? SENSITIVITY_SAMPLES
    const executable = await this.#runtime.evaluator.load(this.#basis.model)
    const runs: { feeds: TensorMap; outputs: TensorMap }[] = []
    try {
      let samples = 0
      for await (const feeds of this.#data()) {
        checkAborted(this.#options.signal)
        runs.push({ feeds, outputs: await executable.run(feeds) })
        samples += Object.values(feeds)[0]?.shape[0] ?? 1
        if (samples >= wanted) break
      }
    } finally {
      await executable.release()
    }
    return runs
  }
}

function bitsOfActivations({ activations = 'uint8', activationBits }: QuantizeOptions): number {
  return activationBits ?? INTEGER_TYPES[activations === 'none' ? 'uint8' : activations].bits
}
