/** What quantization did to each layer of a network, in order of damage. */
import { fail, type TaskOptions } from '../core/index.ts'
import {
  type CompareLayersOptions,
  compareLayers,
  compareModels,
  hasQuantization,
  type LayerDifference,
  type ValueDifference,
} from '../engine/index.ts'
import { cloneModel, ensureUniqueNames, type Model, sortNodes, type TensorMap } from '../graph/index.ts'
import type { Runtime } from './runtime.ts'

/** Options of {@link analyseQuantization}. */
export interface AnalyseOptions extends TaskOptions, Pick<CompareLayersOptions, 'runBytes'> {
  /** Feeds of the original, in batches; called once per pass. */
  readonly data: () => AsyncIterable<TensorMap>
}

/** What {@link analyseQuantization} found. */
export type QuantizationAnalysis = {
  readonly batches: number
  /** The networks' outputs. */
  readonly outputs: readonly ValueDifference[]
  /** Layers, the one whose own quantization does most first (relative error of its output alone). */
  readonly layers: readonly LayerDifference[]
  /** Nodes of the quantized network that stand for nothing in the original by name. */
  readonly unmatched: readonly string[]
}

/**
 * Compares a quantized network with its float original, layer by layer: `alone`, each layer's part of the quantized
 * network on the original's values; `accumulated`, what is different in the whole network up to there.
 *
 * Any QDQ network will do, also one that other tools made, as long as it keeps names of values or nodes. Both networks
 * are run node by node. Two passes over the data.
 *
 * @throws WhittleError `INVALID_ARGUMENT` when `quantized` holds no QuantizeLinear or DequantizeLinear, or inputs or
 *   outputs cannot be paired; `INVALID_DATA` without a batch; `ENGINE`; `ABORTED`.
 */
export async function analyseQuantization(
  original: Model,
  quantized: Model,
  options: AnalyseOptions,
  runtime: Pick<Runtime, 'evaluator'>,
): Promise<QuantizationAnalysis> {
  if (!hasQuantization(quantized))
    fail(
      'INVALID_ARGUMENT',
      `Analysis: model '${quantized.graph.name}' must be quantized; it has no QuantizeLinear or DequantizeLinear. Give the float model first and the quantized one second.`,
    )
  const [a, b] = [inOrder(original), inOrder(quantized)]
  const { data, signal, onProgress, runBytes } = options
  const { layers, unmatched, batches } = await compareLayers(runtime.evaluator, a, b, data(), {
    signal,
    onProgress,
    runBytes,
  })
  const { outputs } = await compareModels(runtime.evaluator, a, b, data(), { layers: false, signal, onProgress })
  const byDamage = layers.toSorted((x, y) => y.alone.relativeError - x.alone.relativeError)
  return { batches, outputs, layers: byDamage, unmatched }
}

/** A clone with nodes in order and with names. */
function inOrder(model: Model): Model {
  const clone = cloneModel(model)
  ensureUniqueNames(clone)
  sortNodes(clone.graph)
  return clone
}
