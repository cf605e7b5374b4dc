/** Which moments to collect for which site, and what the collected sums mean for the fit. */
import { intAttribute } from '../../graph/index.ts'
import type { Site } from '../sites.ts'
import { meanSquareOf, type PatchAverages, shrinkCovariance } from './covariance.ts'
import type { SiteMoments } from './moments.ts'
import { canShiftBias } from './replace.ts'

/** Asks for the second moments of the patches that a site's weight is applied to. */
export interface SiteMomentRequest {
  /** Name of the site. */
  readonly site: string
  /** Name of the activation that feeds it. */
  readonly value: string
  readonly kind: 'linear' | 'conv'
  readonly kernel: readonly number[]
  readonly strides: readonly number[]
  /** Begin of every axis, then end of every axis. */
  readonly pads: readonly number[]
  readonly dilations: readonly number[]
  readonly group: number
  /** Length of a patch in one group. */
  readonly size: number
}

/** The request for a site, or the reason why it can only be decomposed by its weight. */
export function momentRequest(site: Site): SiteMomentRequest | string {
  if (site.kind === 'transposed-convolution') return 'Transposed convolutions are fitted to their weight.'
  if (site.op === 'Gemm' && intAttribute(site.node, 'transA', 0) !== 0)
    return 'A Gemm with transA is fitted to its weight.'
  const pads = explicitPads(site)
  if (!pads) return 'Its padding depends on an input shape that is not known.'
  const taps = site.kernel.reduce((product, extent) => product * extent, 1)
  return {
    site: site.name,
    value: site.node.inputs[0]!,
    kind: site.kind === 'linear' ? 'linear' : 'conv',
    kernel: site.kernel,
    strides: site.strides,
    pads,
    dilations: site.dilations,
    group: site.group,
    size: (site.inputs / site.group) * taps,
  }
}

/** Pads with `auto_pad` resolved. Source: ONNX operator Conv, attribute auto_pad. */
function explicitPads(site: Site): readonly number[] | undefined {
  if (site.autoPad === 'NOTSET' || site.autoPad === '') return site.pads
  if (site.autoPad === 'VALID') return site.pads.map(() => 0)
  if (!site.inputShape) return undefined
  const begins: number[] = []
  const ends: number[] = []
  site.kernel.forEach((extent, axis) => {
    const length = site.inputShape![axis + 2]!
    const stride = site.strides[axis]!
    const reach = (extent - 1) * site.dilations[axis]! + 1
    const total = Math.max(0, (Math.ceil(length / stride) - 1) * stride + reach - length)
    const small = Math.floor(total / 2)
    begins.push(site.autoPad === 'SAME_LOWER' ? total - small : small)
    ends.push(site.autoPad === 'SAME_LOWER' ? small : total - small)
  })
  return [...begins, ...ends]
}

/**
 * Patches that count as independent: those of a kernel overlap, so that each input is seen as often as it has taps.
 *
 * @param count patches seen.
 */
export function independentSamples(site: Site, count: number): number {
  return count / site.kernel.reduce((product, extent) => product * extent, 1)
}

/**
 * Moments as the fit wants them: centred where the bias can take up the mean, and shrunk by what the number of patches
 * leaves open.
 *
 * @param count patches seen.
 */
export function siteMoments(site: Site, groups: readonly PatchAverages[], count: number): SiteMoments {
  const centred = canShiftBias(site)
  return {
    count,
    groups: groups.map(({ second, mean }) => {
      const d = mean.length
      const covariance = second.slice()
      if (centred) for (let i = 0; i < d; i++) for (let j = 0; j < d; j++) covariance[i * d + j]! -= mean[i]! * mean[j]!
      shrinkCovariance(covariance, d, independentSamples(site, count), meanSquareOf(second, d))
      return { covariance, mean: centred ? mean : new Float64Array(d) }
    }),
  }
}
