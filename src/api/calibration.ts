/** Datasets as what data-aware methods feed to a model. */
import {
  type Dataset,
  feedsOf,
  modelInputs,
  type Preprocess,
  type PresetName,
  preprocessDataset,
  resolvePreprocess,
} from '../data/index.ts'
import type { Model, TensorMap } from '../graph/index.ts'

/** Options of {@link calibrationFeeds}. */
export interface CalibrationOptions {
  /** A preset's name or a preprocessing; absent: what the model's metadata say, else `none`. */
  readonly preprocess?: PresetName | Preprocess | undefined
  /** Samples per run where the model's batch axis is open; default 64. */
  readonly batch?: number | undefined
  /** At most this many samples; default 512. */
  readonly limit?: number | undefined
  /** Which samples: seed of the shuffle they are taken from; default 0. */
  readonly seed?: number | undefined
  /** Stops the stream. */
  readonly signal?: AbortSignal | undefined
}

/** Samples that data-aware methods look at unless told otherwise; second moments hardly change beyond. */
export const CALIBRATION_SAMPLES = 512

/** Samples that ranges of activations are measured on unless told otherwise. */
export const QUANTIZATION_SAMPLES = 256

/**
 * Feeds of a model from a dataset, for the option `data` of `decompose` and `quantize`; every call passes over the same samples again.
 *
 * Where the model's batch is fixed, samples that do not fill a last run are left out.
 *
 * @throws WhittleError while iterating: `INVALID_DATA`, `SHAPE_MISMATCH` when samples do not fit the model's inputs.
 */
export function calibrationFeeds(
  model: Model,
  dataset: Dataset,
  options: CalibrationOptions = {},
): () => AsyncIterable<TensorMap> {
  const { batch, signal, limit = CALIBRATION_SAMPLES, seed = 0 } = options
  const { preprocess } = resolvePreprocess(model, options.preprocess)
  const prepared = preprocessDataset(dataset, preprocess)
  const inputs = modelInputs(model)
  return async function* () {
    let count = 0
    for await (const samples of prepared.batches({ batch, limit, shuffle: seed, signal })) {
      const runs = feedsOf(samples, inputs, { inputNames: dataset.inputNames, layout: preprocess.layout })
      for (const { feeds, size } of runs) {
        if (count > 0 && size < rowsOf(feeds)) continue
        count++
        yield feeds
      }
    }
  }
}

function rowsOf(feeds: TensorMap): number {
  return Object.values(feeds)[0]?.shape[0] ?? 0
}
