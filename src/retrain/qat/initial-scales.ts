/** Where the scales of weights start, one for each index of an axis. */
import { roundHalfToEven } from '../../compress/index.ts'
import { sizeOf, type Tensor, toFloat32 } from '../../tensor/index.ts'

/** FLT_EPSILON: AMCT's least scale and least width of a range. */
export const EPSILON = 2 ** -23

/** Which scale each element of a weight has, as [outer, channels, inner]. */
export function channelsOf(shape: readonly number[], axis: number | null): { channels: number; inner: number } {
  return axis === null
    ? { channels: 1, inner: sizeOf(shape) }
    : { channels: shape[axis]!, inner: sizeOf(shape.slice(axis + 1)) }
}

/** Greatest magnitude for each scale, over the limit, as the graph computes it; 1 where that is next to nothing. */
export function magnitudeScales(weight: Tensor, axis: number | null, limit: number): Float32Array {
  const data = toFloat32(weight)
  const { channels, inner } = channelsOf(weight.shape, axis)
  const greatest = new Float32Array(channels)
  for (let i = 0; i < data.length; i++) {
    const channel = Math.floor(i / inner) % channels
    greatest[channel] = Math.max(greatest[channel]!, Math.abs(data[i]!))
  }
  return greatest.map((value) => {
    const scale = Math.fround(value / limit)
    return scale < EPSILON ? 1 : scale
  })
}

/** LSQ's first scale, 2 · mean |w| / √limit (Esser et al., section 2.1), at most what covers the greatest magnitude. */
export function meanScales(weight: Tensor, axis: number | null, limit: number): Float32Array {
  const data = toFloat32(weight)
  const { channels, inner } = channelsOf(weight.shape, axis)
  const sums = new Float64Array(channels)
  for (let i = 0; i < data.length; i++) sums[Math.floor(i / inner) % channels]! += Math.abs(data[i]!)
  return magnitudeScales(weight, axis, limit).map((covering, channel) => {
    const mean = (sums[channel]! * channels) / data.length
    return Math.max(EPSILON, Math.min(covering, (2 * mean) / Math.sqrt(limit)))
  })
}

const CANDIDATES = 40
const LEAST_SHARE = 0.3

/** The scale of least squared error, of 40 from 0.3 to 1 times what covers the greatest magnitude (LSQ+, section 3.2). */
export function leastErrorScales(weight: Tensor, axis: number | null, limit: number): Float32Array {
  const data = toFloat32(weight)
  const { channels, inner } = channelsOf(weight.shape, axis)
  const covering = magnitudeScales(weight, axis, limit)
  const best = Float32Array.from(covering)
  const least = new Float64Array(channels).fill(Number.POSITIVE_INFINITY)
  const errors = new Float64Array(channels)
  for (let candidate = 0; candidate < CANDIDATES; candidate++) {
    const share = 1 - ((1 - LEAST_SHARE) * candidate) / (CANDIDATES - 1)
    const scales = covering.map((scale) => Math.max(EPSILON, scale * share))
    errors.fill(0)
    for (let start = 0, channel = 0; start < data.length; start += inner, channel = (channel + 1) % channels) {
      const scale = scales[channel]!
      let sum = 0
      for (let i = start; i < start + inner; i++) {
        const level = Math.max(-limit, Math.min(limit, roundHalfToEven(data[i]! / scale)))
        sum += (data[i]! - level * scale) ** 2
      }
      errors[channel]! += sum
    }
    for (const [channel, error] of errors.entries())
      if (error < least[channel]!) {
        least[channel] = error
        best[channel] = scales[channel]!
      }
  }
  return best
}

/** First scales by name. */
export const INITIAL = { magnitude: magnitudeScales, mean: meanScales, mse: leastErrorScales } as const
