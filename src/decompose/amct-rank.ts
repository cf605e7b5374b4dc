/**
 * AMCT's rank of a spatial decomposition: EVBMF, clamped to a narrow window and rounded to a multiple of 16.
 *
 * Source: AMCT (Ascend Model Compression Toolkit), `tensor_decomposition.cpp`, restated in this project's notes; the
 * reference ranks in the tests were computed with the original.
 */
import { evbmf } from './evbmf.ts'

/** A convolution's weight as AMCT looks at it. */
export interface AmctKernel {
  readonly outputChannels: number
  readonly inputChannels: number
  readonly kernelHeight: number
  readonly kernelWidth: number
}

/** AMCT's choice and how it came about. */
export interface AmctRank {
  /** The rank to use. */
  readonly rank: number
  /** EVBMF's answer; 0 is suspicious (AMCT: "please check if pretrained weight is correct"). */
  readonly raw: number
  /** The window the raw rank was clamped to, before rounding. */
  readonly low: number
  readonly high: number
}

/**
 * Shape [rows, cols] of the matrix that AMCT factors: the smaller channel count times the smaller kernel side first.
 *
 * @example
 * console.log(amctMatrixShape({ outputChannels: 64, inputChannels: 128, kernelHeight: 3, kernelWidth: 3 }))
 */
export function amctMatrixShape(kernel: AmctKernel): readonly [rows: number, cols: number] {
  const { outputChannels: o, inputChannels: i, kernelHeight: h, kernelWidth: w } = kernel
  return [Math.min(o, i) * Math.min(h, w), Math.max(o, i) * Math.max(h, w)]
}

/**
 * AMCT's clamp and rounding of a raw rank; never more than the full rank.
 *
 * @param raw EVBMF's rank.
 * @example
 * console.log(clampAmctRank(200, { outputChannels: 64, inputChannels: 128, kernelHeight: 3, kernelWidth: 3 }))
 */
export function clampAmctRank(raw: number, kernel: AmctKernel): AmctRank {
  const [l, m] = amctMatrixShape(kernel)
  const divisor = Math.min(kernel.outputChannels, kernel.inputChannels) >= 256 ? 4 : 6
  const low = Math.floor(l / (divisor + 1))
  const high = Math.floor(l / divisor)
  const clamped = Math.max(Math.min(raw, high), low)
  let rounded = Math.max(16, Math.floor((clamped + 8) / 16) * 16)
  if (rounded < 0.9 * clamped) rounded += 16
  return { rank: Math.min(rounded, l, m), raw, low, high }
}

/**
 * AMCT's rank from the singular values of the matrix of {@link amctMatrixShape}.
 *
 * @param singularValues all of them, descending.
 * @throws WhittleError `SHAPE_MISMATCH`, `NOT_FINITE` as {@link evbmf}.
 * @example
 * const values = Float64Array.from({ length: 192 }, (_, i) => (i < 20 ? 100 - i : 8 - 0.02 * i))
 * console.log(amctRank(values, { outputChannels: 64, inputChannels: 128, kernelHeight: 3, kernelWidth: 3 }))
 */
export function amctRank(singularValues: ArrayLike<number>, kernel: AmctKernel): AmctRank {
  const [l, m] = amctMatrixShape(kernel)
  return clampAmctRank(evbmf(singularValues, l, m).rank, kernel)
}
