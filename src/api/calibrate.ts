/** Ranges of a model's activations on data. */
import {
  type CalibrationMethod,
  type CalibratorOptions,
  calibrate,
  findQuantizable,
  INTEGER_TYPES,
  type IntegerType,
  type Quantizable,
  type QuantizePlanOptions,
  type Range,
  statisticNeeds,
  TensorStatistics,
} from '../compress/index.ts'
import type { TaskOptions } from '../core/index.ts'
import { collectStatistics, type ObservedValue, observeShapes, type StatisticsOptions } from '../engine/index.ts'
import type { Model, TensorMap } from '../graph/index.ts'
import type { Runtime } from './runtime.ts'

/** Options of {@link calibrateModel}. */
export interface CalibrateOptions
  extends TaskOptions,
    Pick<StatisticsOptions, 'runBytes' | 'skipBatches' | 'afterBatch'> {
  /** How ranges are found; default `minmax`. An object sets the method's parameters. */
  readonly calibration?: CalibrationMethod | CalibratorOptions | undefined
  /** Other methods or parameters for single activations, by name of the value. */
  readonly calibrations?: ReadonlyMap<string, CalibratorOptions> | undefined
  /** Statistics of earlier batches, by name of the value, to go on from (`parseStatisticsCache`). */
  readonly statistics?: ReadonlyMap<string, TensorStatistics> | undefined
  /** Ranges that are known already, by name of the value; these are not measured. */
  readonly ranges?: ReadonlyMap<string, Range> | undefined
  /** Whether all activations are measured, also those that a plan of all layers needs no range for; default false. */
  readonly complete?: boolean | undefined
  /** Shapes of the model's values, if they are known. */
  readonly shapes?: ReadonlyMap<string, ObservedValue> | undefined
  /** Shapes of inputs that the model leaves open. */
  readonly inputShapes?: Readonly<Record<string, readonly number[]>> | undefined
}

/** What {@link calibrateModel} found out. */
export interface Calibrated {
  readonly shapes: ReadonlyMap<string, ObservedValue>
  readonly quantizable: Quantizable
  /** Ranges by name of the value. */
  readonly ranges: ReadonlyMap<string, Range>
  readonly statistics: ReadonlyMap<string, TensorStatistics>
}

/**
 * Collects statistics of the activations that quantization needs, and makes ranges of them.
 *
 * @param model prepared (`prepareForQuantization`).
 * @throws WhittleError `INVALID_DATA` without a batch; `INVALID_ARGUMENT`; `NOT_FINITE`; `ENGINE`; `ABORTED`.
 */
export async function calibrateModel(
  model: Model,
  planOptions: QuantizePlanOptions,
  options: CalibrateOptions & { readonly data: () => AsyncIterable<TensorMap> },
  runtime: Pick<Runtime, 'evaluator'>,
): Promise<Calibrated> {
  const { inputShapes, signal, complete } = options
  const shapes = options.shapes ?? (await observeShapes(runtime.evaluator, model, { inputShapes, signal }))
  const quantizable = findQuantizable(model, shapes, planOptions)
  const needed = quantizable.tensors
    .filter(({ sharedWith, fixedRange }) => complete || (sharedWith === undefined && !fixedRange))
    .map(({ name }) => name)
    .filter((name) => !options.ranges?.has(name) && !planOptions.tensors?.get(name)?.quantization)
  const methods = new Map(needed.map((name) => [name, methodOf(name, options)]))
  const nonNegative = new Set(quantizable.tensors.filter(({ bounds }) => bounds?.min === 0).map(({ name }) => name))
  const requests = needed.map((tensor) => ({
    tensor,
    statistics: options.statistics?.get(tensor) ?? new TensorStatistics(statisticNeeds(methods.get(tensor)!)),
    // Every range of integers holds zero, whether the data come down to it or not.
    atLeast: nonNegative.has(tensor) ? 0 : undefined,
  }))
  const { onProgress, runBytes, skipBatches, afterBatch } = options
  const collected =
    requests.length === 0
      ? new Map<string, TensorStatistics>()
      : await collectStatistics(runtime.evaluator, model, requests, options.data, {
          signal,
          onProgress,
          shapes,
          runBytes,
          skipBatches,
          afterBatch,
        })
  const ranges = new Map<string, Range>(options.ranges ?? [])
  for (const [name, statistics] of collected)
    ranges.set(name, calibrate(statistics, methods.get(name)!, targetOf(name, planOptions)))
  return { shapes, quantizable, ranges, statistics: collected }
}

function methodOf(name: string, { calibration = 'minmax', calibrations }: CalibrateOptions): CalibratorOptions {
  return calibrations?.get(name) ?? (typeof calibration === 'string' ? { method: calibration } : calibration)
}

function targetOf(name: string, options: QuantizePlanOptions): { type: IntegerType; bits: number; symmetric: boolean } {
  const choice = options.tensors?.get(name) ?? {}
  const type = choice.type ?? options.activations ?? 'uint8'
  const bits = choice.bits ?? (choice.type ? undefined : options.activationBits) ?? INTEGER_TYPES[type].bits
  return { type, bits, symmetric: choice.symmetric ?? options.activationsSymmetric ?? false }
}
