/**
 * CP chains: a kernel as a sum of rank-one terms, one factor per mode.
 *
 * W[o, i, h, w] ≈ Σ_r A[o, r] B[i, r] H[h, r] V[w, r] is 1×1 (in → r), depthwise k×1, depthwise 1×k, 1×1 (r → out):
 * variant `'4'`, after its stages (Lebedev et al., "Speeding-up convolutional neural networks using fine-tuned
 * CP-decomposition", ICLR 2015). With one factor for the whole kernel, W[o, i, t] ≈ Σ_r A[o, r] B[i, r] K[t, r], it is
 * 1×1, depthwise k×k, 1×1: variant `'3'` (Astrid, Lee, "CP-decomposition with tensor power method for convolutional
 * neural networks compression", BigComp 2017). Three kernel axes one by one make variant `'5'`.
 */
import type { Site } from '../sites.ts'
import {
  type AxisStage,
  axisStages,
  channelRefusal,
  channelsOf,
  type FormVariant,
  type Stage,
  volumeOf,
} from './stage.ts'

/** The CP chains that fit a site, or the reason why none does. */
export function cpVariants(site: Site): FormVariant[] | string {
  if (site.kind === 'linear') return 'CP decomposes convolutions; for a matrix it is the matrix SVD (method svd).'
  const taps = volumeOf(site.kernel)
  if (taps === 1) return 'CP of a 1-wide kernel is its channel SVD (method channel).'
  const refusal = channelRefusal(site)
  if (refusal) return refusal
  const axes = axisStages(site)
  const middles: AxisStage[][] = [[{ role: 'core', carries: site.kernel.map(() => true), taps }]]
  // An output_shape attribute fixes all axes at once.
  if (axes && axes.length > 1 && !site.fixedOutput) middles.push(axes)
  return middles.map((middle) => cpVariant(site, middle))
}

function cpVariant(site: Site, middle: readonly AxisStage[]): FormVariant {
  const { inputs, outputs } = channelsOf(site)
  const none = site.kernel.map(() => false)
  const extents = [outputs, inputs, ...middle.map(({ taps }) => taps)]
  return {
    form: 'cp',
    variant: String(middle.length + 2),
    fullRanks: { rank: exactCpRank(extents) },
    unfoldings: {},
    stages: ({ rank = 0 }) => [
      { role: 'first', inputs, outputs: rank, carries: none },
      ...middle.map(({ role, carries }): Stage => ({ role, inputs: rank, outputs: rank, carries, depthwise: true })),
      { role: 'last', inputs: rank, outputs, carries: none },
    ],
  }
}

/** A rank at which every tensor of a shape has an exact CP: the product of all extents but the largest. */
export function exactCpRank(extents: readonly number[]): number {
  return volumeOf(extents) / Math.max(...extents)
}
