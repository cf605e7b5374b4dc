/** The float network in the form that is quantized: one that plans name, and that has the opset of the plan's types. */
import {
  assertFloatModel,
  batchNormStatistics,
  type ChannelStatistics,
  hasFloat16,
  INTEGER_TYPES,
  type IntegerType,
  normalizeLinear,
  widenFloat16,
} from '../compress/index.ts'
import { fail, type TaskOptions, WhittleError } from '../core/index.ts'
import { type ObservedValue, observeShapes } from '../engine/index.ts'
import { foldBatchNorm, liftOpset, type Model, removeIdentity, removeUnused, runPasses } from '../graph/index.ts'
import { prepareModel } from './prepare.ts'
import type { Runtime } from './runtime.ts'

/** Options of {@link prepareForQuantization}. */
export interface QuantizePrepareOptions extends TaskOptions {
  /** Shapes of inputs that the model leaves open; an open first axis counts as the batch and needs none. */
  readonly inputShapes?: Readonly<Record<string, readonly number[]>> | undefined
  /** Integer types that will be used; 4 and 16 bits need opset 21. */
  readonly types?: readonly IntegerType[] | undefined
}

/** A model ready to be quantized. */
export interface PreparedForQuantization {
  readonly model: Model
  /** Statistics of outputs by the batch normalisations that were folded, by name of the layer. */
  readonly batchNorms: ReadonlyMap<string, ChannelStatistics>
  /** Whether weights may have a scale per channel, which takes opset 13. */
  readonly allowsPerChannel: boolean
  /** Shapes and element types of its values. */
  readonly shapes: ReadonlyMap<string, ObservedValue>
  readonly warnings: readonly string[]
}

/**
 * Checks and prepares a model, lifts it to the opset that the types need, folds batch normalisations and scales into the
 * layers before them, and gives linear layers the form that integer kernels take. Its function stays the same, to
 * rounding. The same model gives the same result, so that plans fit it again.
 *
 * @throws WhittleError `INVALID_ARGUMENT` for a model that is quantized already; `UNSUPPORTED` when its opset is too low
 *   and it cannot be lifted; `INVALID_MODEL`; `ENGINE`.
 */
export async function prepareForQuantization(
  model: Model,
  options: QuantizePrepareOptions,
  runtime: Pick<Runtime, 'evaluator'>,
): Promise<PreparedForQuantization> {
  const { inputShapes, signal } = options
  const context = { evaluator: runtime.evaluator, signal }
  const { model: plain, warnings } = await prepareUnfolded(model, options, runtime)
  const batchNorms = batchNormStatistics(plain)
  const { model: folded } = await runPasses(plain, [foldBatchNorm, removeIdentity, removeUnused], context)
  const shapes = await observeShapes(runtime.evaluator, folded, { inputShapes, signal })
  return {
    model: normalizeLinear(folded, shapes),
    batchNorms,
    shapes,
    allowsPerChannel: (folded.opsets.get('') ?? 1) >= 13,
    warnings,
  }
}

/** The first half: checked, prepared and lifted, with batch normalisations where they are. */
async function prepareUnfolded(
  model: Model,
  options: QuantizePrepareOptions,
  runtime: Pick<Runtime, 'evaluator'>,
): Promise<{ readonly model: Model; readonly warnings: readonly string[] }> {
  assertFloatModel(model)
  const original = await prepareModel(model, runtime, options)
  const isHalf = hasFloat16(original)
  const checked = isHalf ? widenFloat16(original) : original
  const wide = (options.types ?? []).some((type) => INTEGER_TYPES[type].bits !== 8)
  const { model: lifted, warning } = lift(checked, wide ? 21 : 13)
  const context = { evaluator: runtime.evaluator, signal: options.signal }
  const { model: plain } = await runPasses(lifted, [removeIdentity], context)
  const warnings = warning === undefined ? [] : [warning]
  if (isHalf)
    warnings.push(
      'The model computes in float16; what stays in float is float32 now, and bytes before are those of float32.',
    )
  return { model: plain, warnings }
}

/** A model ready for quantization-aware training: the same network twice. */
export interface PreparedForTraining extends Omit<PreparedForQuantization, 'batchNorms' | 'shapes'> {
  /** With batch normalisations where they are, so that they can learn on. */
  readonly unfolded: Model
}

/**
 * Prepares a model for quantization-aware training, as {@link prepareForQuantization} does for quantization.
 *
 * @throws WhittleError as {@link prepareForQuantization}.
 */
export async function prepareForTraining(
  model: Model,
  options: QuantizePrepareOptions,
  runtime: Pick<Runtime, 'evaluator'>,
): Promise<PreparedForTraining> {
  const { inputShapes, signal } = options
  const { model: plain, warnings } = await prepareUnfolded(model, options, runtime)
  const unfolded = normalizeLinear(plain, await observeShapes(runtime.evaluator, plain, { inputShapes, signal }))
  const { model: folded } = await runPasses(unfolded, [foldBatchNorm])
  return { model: folded, unfolded, allowsPerChannel: (folded.opsets.get('') ?? 1) >= 13, warnings }
}

function lift(model: Model, opset: number): { model: Model; warning?: string } {
  try {
    return { model: liftOpset(model, opset) }
  } catch (error) {
    const from = model.opsets.get('') ?? 1
    if (!(error instanceof WhittleError && error.code === 'UNSUPPORTED') || opset > 13 || from < 10) throw error
    return { model, warning: `Weights have one scale each: ${error.message}` }
  }
}

/** Throws when not a single layer can be quantized, with the reasons. */
export function assertSomeLayer(
  model: Model,
  steps: readonly { readonly weight?: unknown; readonly op: string }[],
  skips: readonly { readonly reason: string }[],
): void {
  if (steps.length > 0) return
  const counts = new Map<string, number>()
  for (const { reason } of skips) counts.set(reason, (counts.get(reason) ?? 0) + 1)
  const reasons = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 3)
  fail(
    'INVALID_ARGUMENT',
    `Model '${model.graph.name}': no layer can be quantized. ${reasons.map(([reason, count]) => `${count} ×: ${reason}`).join(' ')}`.trim(),
  )
}
