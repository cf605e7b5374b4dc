/** The matrices that ranks truncate: their shapes and Gram matrices. */
import { type Matrix64, type MatrixEngine, modeGram } from '../../decompose/index.ts'
import type { Site } from '../sites.ts'
import { type GroupKernel, type Reals, splitMatrix, splitTaps } from './kernel.ts'
import { type GroupMoments, outputGram, rowGram } from './moments.ts'
import { type Unfolding, volumeOf } from './stage.ts'
import { pairTensor } from './trains.ts'

/** Rows and columns of an unfolding of one group's weight. */
export function unfoldingShape(kernel: GroupKernel, site: Site, unfolding: Unfolding): [rows: number, cols: number] {
  const { outputs, inputs, taps } = kernel
  switch (unfolding.kind) {
    case 'outputs':
      return [outputs, inputs * taps]
    case 'inputs':
      return [inputs, outputs * taps]
    case 'split': {
      const { carriedCount, restCount } = splitTaps(site.kernel, unfolding.carries)
      return [inputs * carriedCount, outputs * restCount]
    }
    case 'pairs': {
      const rows =
        volumeOf(unfolding.inputs.slice(0, unfolding.at)) * volumeOf(unfolding.outputs.slice(0, unfolding.at))
      return [rows, (inputs * outputs) / rows]
    }
  }
}

/**
 * The Gram matrix of an unfolding, on whichever side is smaller or at hand: its eigenvalues are the squared singular
 * values.
 *
 * @param moments of the layer's input, to weigh the weight by: see {@link outputGram} and {@link rowGram}. Trains of
 *   matrices are never weighed.
 */
export async function unfoldingGram(
  engine: MatrixEngine,
  kernel: GroupKernel,
  site: Site,
  unfolding: Unfolding,
  moments: GroupMoments | undefined,
): Promise<Matrix64> {
  const { data, outputs, inputs, taps } = kernel
  if (moments && unfolding.kind !== 'pairs') {
    if (unfolding.kind === 'outputs') return outputGram(engine, kernel, moments)
    const carries = unfolding.kind === 'split' ? unfolding.carries : site.kernel.map(() => false)
    return rowGram(engine, kernel, site, carries, moments)
  }
  switch (unfolding.kind) {
    case 'outputs':
      return smallerGram(engine, outputs, inputs * taps, data)
    case 'inputs':
      if (outputs * taps < inputs && taps === 1) return engine.gram({ rows: outputs, cols: inputs, data })
      return modeGram(engine, data, [outputs, inputs, taps])
    case 'split': {
      const matrix = splitMatrix(kernel, splitTaps(site.kernel, unfolding.carries))
      return smallerGram(engine, matrix.rows, matrix.cols, matrix.data)
    }
    case 'pairs': {
      const [rows, cols] = unfoldingShape(kernel, site, unfolding)
      return smallerGram(engine, rows, cols, pairTensor(kernel, unfolding).data as Reals)
    }
  }
}

function smallerGram(engine: MatrixEngine, rows: number, cols: number, data: Reals): Promise<Matrix64> {
  return engine.gram({ rows, cols, data }, { transpose: cols < rows })
}
