/** Integers of weights chosen on data, for quantization plans. */
import { fakeQuantize, type QuantizePlan, type Skip } from '../compress/index.ts'
import type { TaskOptions } from '../core/index.ts'
import { createPlainMatrixEngine, type MatrixEngine } from '../decompose/index.ts'
import { observeShapes } from '../engine/index.ts'
import type { Evaluator, Model, TensorMap } from '../graph/index.ts'
import { learnRounding, type RoundedLayer, type RoundingMethod, type RoundingOptions } from '../retrain/index.ts'
import type { Tensor } from '../tensor/index.ts'

/** How weights are rounded: to the nearest integer, or by a method with its default options or one's own. */
export type RoundingChoice = 'nearest' | RoundingMethod | RoundingOptions

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
  /** For `applyQuantize`, by the weight's name. */
  readonly rounded: ReadonlyMap<string, Tensor>
  readonly layers: readonly RoundedLayer[]
  readonly skips: readonly Skip[]
}

/**
 * Chooses the integers of a plan's weights on data.
 *
 * @returns `undefined` for `'nearest'`.
 * @throws WhittleError as `learnRounding`.
 */
export async function roundWeights(
  model: Model,
  plan: QuantizePlan,
  choice: RoundingChoice,
  { data, shapes, seed, signal, onProgress }: RoundingInputs,
  runtime: { readonly evaluator: Evaluator; readonly matrices?: MatrixEngine | undefined },
): Promise<RoundedWeights | undefined> {
  if (choice === 'nearest') return undefined
  const options = typeof choice === 'string' ? { method: choice, seed } : { seed, ...choice }
  const layers = plan.steps.flatMap(({ node, weight }) => (weight ? [{ node, quantization: weight.quantization }] : []))
  return learnRounding(model, fakeQuantize(model, plan).model, layers, options, {
    evaluator: runtime.evaluator,
    matrices: runtime.matrices ?? createPlainMatrixEngine(),
    observe: (part, { inputShapes }) => observeShapes(runtime.evaluator, part, { inputShapes, signal }),
    shapes,
    data,
    signal,
    onProgress,
  })
}
