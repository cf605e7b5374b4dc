/** Running statistics of batch normalisation, learned as PyTorch does. */
import type { BatchStatistics, Emitter } from '../autodiff/index.ts'

/**
 * Emits the running statistics after this batch: `momentum · old + (1 − momentum) · batch`, with the unbiased variance.
 *
 * @returns pairs of the statistic's name and the value that replaces it.
 */
export function emitStatistics(emit: Emitter, statistics: BatchStatistics): [string, string][] {
  const { runningMean, runningVariance, batchMean, batchVariance, momentum } = statistics
  const blend = (old: string, batch: string): string =>
    emit.add(emit.scale(old, momentum), emit.scale(batch, 1 - momentum))
  return [
    [runningMean, blend(runningMean, batchMean)],
    [runningVariance, blend(runningVariance, batchVariance)],
  ]
}
