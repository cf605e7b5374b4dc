/** Integers of weights chosen on data, for quantization plans. */
import {
  type CompressionRecord,
  fakeQuantize,
  type QuantizePlan,
  type RoundingPlan,
  type Skip,
} from '../compress/index.ts'
import { type TaskOptions, WhittleError } from '../core/index.ts'
import { createPlainMatrixEngine, type MatrixEngine } from '../decompose/index.ts'
import { observeShapes } from '../engine/index.ts'
import type { Evaluator, Model, TensorMap } from '../graph/index.ts'
import { learnRounding, type RoundedLayer, type RoundingMethod, type RoundingOptions } from '../retrain/index.ts'
import type { Tensor } from '../tensor/index.ts'

/** A method of rounding with its options, and the weights it is for. */
export interface WeightRounding extends RoundingOptions {
  /** Only weights of at most this many bits, the others to nearest; default: all. */
  readonly mostBits?: number | undefined
}

/** How weights are rounded: to the nearest integer, or by a method with its default options or one's own. */
export type RoundingChoice = 'nearest' | RoundingMethod | WeightRounding

/** What is done where nothing was chosen: at 8 bits there is nothing to win, at 4 a point or more for seconds. */
export const DEFAULT_ROUNDING: WeightRounding = { method: 'gptq', mostBits: 4 }

/** Methods by name, for command lines. */
export const ROUNDING_METHODS = ['nearest', 'gptq', 'adaround', 'block'] as const

/** What rounding on data needs. */
export interface RoundingInputs extends TaskOptions {
  /** Batches of model inputs; called once per pass. */
  readonly data: () => AsyncIterable<TensorMap>
  readonly shapes: Parameters<typeof learnRounding>[4]['shapes']
  readonly seed?: number | undefined
}

/** What {@link roundWeights} gives. */
export interface RoundedWeights {
  /** How they were chosen, as plans keep it. */
  readonly rounding: RoundingPlan
  /** For `applyQuantize`, by the weight's name. */
  readonly rounded: ReadonlyMap<string, Tensor>
  readonly layers: readonly RoundedLayer[]
  readonly skips: readonly Skip[]
}

/**
 * Chooses the integers of a plan's weights on data.
 *
 * @param choice default {@link DEFAULT_ROUNDING}.
 * @returns `undefined` for `'nearest'`, and when no weight has as few bits as the choice is for.
 * @throws WhittleError as `learnRounding`.
 */
export async function roundWeights(
  model: Model,
  plan: QuantizePlan,
  choice: RoundingChoice | undefined,
  { data, shapes, seed, signal, onProgress }: RoundingInputs,
  runtime: { readonly evaluator: Evaluator; readonly matrices?: MatrixEngine | undefined },
): Promise<RoundedWeights | undefined> {
  const wanted = settingsOf(choice)
  if (!wanted) return undefined
  const layers = layersToRound(plan, wanted)
  if (layers.length === 0) return undefined
  const { mostBits: _, ...settings } = wanted
  const options: RoundingOptions = { seed, ...settings }
  const learned = await learnRounding(model, fakeQuantize(model, plan).model, layers, options, {
    evaluator: runtime.evaluator,
    matrices: runtime.matrices ?? createPlainMatrixEngine(),
    observe: (part, { inputShapes }) => observeShapes(runtime.evaluator, part, { inputShapes, signal }),
    shapes,
    data,
    signal,
    onProgress,
  })
  return { rounding: JSON.parse(JSON.stringify(wanted)), ...learned }
}

/** What a choice says; `undefined` for the nearest integers. */
function settingsOf(choice: RoundingChoice = DEFAULT_ROUNDING): WeightRounding | undefined {
  if (choice === 'nearest') return undefined
  return typeof choice === 'string' ? { method: choice } : choice
}

function layersToRound({ steps }: QuantizePlan, { mostBits = Number.POSITIVE_INFINITY }: WeightRounding) {
  return steps.flatMap(({ node, weight }) =>
    weight && weight.quantization.bits <= mostBits ? [{ node, quantization: weight.quantization }] : [],
  )
}

/** Integers that were chosen for all plans of one calibration. */
interface KnownRounding {
  readonly choice: RoundingChoice | undefined
  readonly weights: RoundedWeights
  /** What each layer's integers stand for, by node. */
  readonly quantizations: ReadonlyMap<string, string>
}

/** Data that integers cannot be chosen on, by the code of the error that says so. */
const UNROUNDED: Readonly<Record<string, string>> = {
  SHAPE_MISMATCH: 'Samples have several sizes; its integers can be chosen on samples of one size only.',
  INVALID_DATA: 'The data are others in every pass; its integers can be chosen on the same samples only.',
}

/**
 * Integers for the plans of one calibration, chosen once: plans that roll layers back keep those of the others.
 *
 * @example
 * const rounding = new PlanRounding()
 * const rounded = await rounding.of(model, plan, 'gptq', { data, shapes }, runtime)
 */
export class PlanRounding {
  readonly #defaults: Partial<WeightRounding>
  #known: KnownRounding | undefined

  /** @param defaults for what choices leave open. */
  constructor(defaults: Partial<WeightRounding> = {}) {
    this.#defaults = defaults
  }

  /**
   * Integers for a plan.
   *
   * @param choice what was asked for. Where nothing was, data that do not do for it leave weights rounded to nearest.
   * @returns as {@link roundWeights}.
   * @throws WhittleError as `learnRounding`.
   */
  async of(
    model: Model,
    plan: QuantizePlan,
    choice: RoundingChoice | undefined,
    inputs: RoundingInputs,
    runtime: { readonly evaluator: Evaluator; readonly matrices?: MatrixEngine | undefined },
  ): Promise<RoundedWeights | undefined> {
    const wanted = settingsOf(choice)
    if (!wanted) return undefined
    const layers = layersToRound(plan, wanted)
    const known = this.#known
    if (known && known.choice === choice && layers.every(({ node }) => known.quantizations.has(node)))
      return fitting(known, plan)
    const weights = await roundWeights(model, plan, { ...this.#defaults, ...wanted }, inputs, runtime).catch(
      (error: unknown) => {
        const reason = error instanceof WhittleError ? UNROUNDED[error.code] : undefined
        if (choice !== undefined || reason === undefined) throw error
        return toNearest(layers, reason)
      },
    )
    if (!weights) return undefined
    const quantizations = new Map(layers.map(({ node, quantization }) => [node, JSON.stringify(quantization)]))
    this.#known = { choice, weights, quantizations }
    return weights
  }

  /** Those integers chosen so far that fit a plan of the same calibration, by the weight's name. */
  for(plan: QuantizePlan): ReadonlyMap<string, Tensor> | undefined {
    return this.#known && fitting(this.#known, plan).rounded
  }
}

function toNearest(layers: readonly { readonly node: string }[], reason: string): RoundedWeights {
  const skips = layers.map(({ node }) => ({ name: node, reason }))
  return { rounding: { method: 'nearest' }, rounded: new Map(), layers: [], skips }
}

/** Integers whose steps are those of the plan; of layers that a plan leaves in float there are none. */
function fitting({ weights, quantizations }: KnownRounding, plan: QuantizePlan): RoundedWeights {
  const [kept, rounded] = [new Set<string>(), new Map<string, Tensor>()]
  for (const { node, weight } of plan.steps) {
    const tensor = weight && weights.rounded.get(weight.tensor)
    if (!tensor || quantizations.get(node) !== JSON.stringify(weight.quantization)) continue
    kept.add(node)
    rounded.set(weight.tensor, tensor)
  }
  const here = new Set(plan.steps.map(({ node }) => node))
  return {
    ...weights,
    rounded,
    layers: weights.layers.filter(({ node }) => kept.has(node)),
    skips: weights.skips.filter(({ name }) => here.has(name)),
  }
}

/** The record of layers whose integers were chosen on data says how, and what it did to their output. */
export function recordRounding(record: CompressionRecord, chosen: RoundedWeights | undefined): CompressionRecord {
  if (!chosen) return record
  const found = new Map(chosen.layers.map(({ node, outputError }) => [node, outputError.rounded]))
  const { method } = chosen.rounding
  const layers = record.layers.map((layer) => {
    const outputError = found.get(layer.name)
    return outputError === undefined ? layer : { ...layer, outputError, rounding: method }
  })
  const warnings = chosen.skips.map(({ name, reason }) => `Rounded to nearest: '${name}': ${reason}`)
  return { ...record, layers, warnings: [...record.warnings, ...warnings] }
}
