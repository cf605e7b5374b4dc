/**
 * Weights by channel: which output and input channel each block of a weight connects, whatever the operator's layout.
 *
 * A weight is a sequence of blocks of `taps` numbers, each block between one output and one input channel:
 * convolutions store `[out, in / group, taps]`, transposed ones `[in, out / group, taps]`, linear layers one tap.
 */
import { toFloat64 } from '../../tensor/index.ts'
import type { Site } from '../sites.ts'

/** Numbers between one output and one input channel: the elements of the kernel, 1 for linear layers. */
export function tapsOf(site: Site): number {
  return site.kernel.reduce((product, extent) => product * extent, 1)
}

/** Calls `visit` for every block of a site's weight, in memory order, with its channels. */
export function forEachBlock(site: Site, visit: (output: number, input: number, block: number) => void): void {
  const { inputs, outputs, group, weightIsOutputFirst } = site
  const [rows, columns] = weightIsOutputFirst ? [outputs, inputs / group] : [inputs, outputs / group]
  const rowsPerGroup = rows / group
  for (let row = 0, block = 0; row < rows; row++) {
    const first = Math.floor(row / rowsPerGroup) * columns
    for (let column = 0; column < columns; column++, block++)
      if (weightIsOutputFirst) visit(row, first + column, block)
      else visit(first + column, row, block)
  }
}

/** The largest absolute value of every block, in memory order. */
export function blockMaxima(site: Site): Float64Array {
  const data = toFloat64(site.weight)
  const taps = tapsOf(site)
  const maxima = new Float64Array(data.length / taps)
  for (let i = 0; i < data.length; i++) {
    const block = Math.floor(i / taps)
    maxima[block] = Math.max(maxima[block]!, Math.abs(data[i]!))
  }
  return maxima
}

/** The largest absolute weight per channel of one side. @returns one number per output or input channel. */
export function channelMaxima(site: Site, side: 'output' | 'input', maxima = blockMaxima(site)): Float64Array {
  const result = new Float64Array(side === 'output' ? site.outputs : site.inputs)
  forEachBlock(site, (output, input, block) => {
    const channel = side === 'output' ? output : input
    result[channel] = Math.max(result[channel]!, maxima[block]!)
  })
  return result
}

/** Factors per channel; absent ones are 1. */
export interface ChannelFactors {
  /** One per output channel. */
  readonly output?: Float64Array | undefined
  /** One per input channel. */
  readonly input?: Float64Array | undefined
}

/** The weight with every number multiplied by the factors of its channels; in float64, not rounded. */
export function scaledWeight(site: Site, { output, input }: ChannelFactors): Float64Array {
  const data = Float64Array.from(toFloat64(site.weight))
  const taps = tapsOf(site)
  forEachBlock(site, (o, i, block) => {
    const factor = (output?.[o] ?? 1) * (input?.[i] ?? 1)
    if (factor !== 1) for (let at = block * taps; at < (block + 1) * taps; at++) data[at]! *= factor
  })
  return data
}

/**
 * What a constant per input channel adds to each output channel where the kernel covers no padding:
 * Σ over inputs and taps of W · x.
 *
 * @param weight numbers in the layout of the site's weight; default: its own.
 * @param values one number per input channel.
 */
export function constantResponse(site: Site, values: Float64Array, weight = toFloat64(site.weight)): Float64Array {
  const taps = tapsOf(site)
  const result = new Float64Array(site.outputs)
  forEachBlock(site, (output, input, block) => {
    let sum = 0
    for (let at = block * taps; at < (block + 1) * taps; at++) sum += weight[at]!
    result[output]! += sum * values[input]!
  })
  return result
}

/** Whether a site is a depthwise convolution with one filter per channel. */
export function isDepthwise(site: Site): boolean {
  return site.kind !== 'linear' && site.group > 1 && site.group === site.inputs && site.group === site.outputs
}
