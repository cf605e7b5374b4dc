/**
 * AMCT's rules for spatial decomposition: which layers it takes, and which of its four orientations.
 * Source: amct_pytorch, graph-based tensor decomposition (eligibility "FastFilterConv"), restated.
 */
import type { Site } from '../sites.ts'

/** AMCT's names of the orientations: First or Second Channel × First or Second Kernel axis on the short side. */
export type AmctMode = 'FCFK' | 'FCSK' | 'SCFK' | 'SCSK'

/** Why AMCT leaves a layer alone, or `undefined` when it decomposes it. */
export function amctRefusal(site: Site): string | undefined {
  if (site.kind !== 'convolution' || site.kernel.length !== 2) return 'AMCT decomposes 2-D convolutions only.'
  const [height, width] = site.kernel as [number, number]
  const shorter = Math.min(height, width)
  const channels = Math.min(site.inputs, site.outputs)
  if (site.group > 1) return `AMCT requires group 1; it is ${site.group}.`
  if (site.dilations.some((dilation) => dilation > 1))
    return `AMCT requires dilation 1; it is [${site.dilations.join(', ')}].`
  if (shorter < 3) return `AMCT requires a kernel of at least 3×3; it is ${height}×${width}.`
  if (Math.max(...site.strides) > 2) return `AMCT requires strides up to 2; they are [${site.strides.join(', ')}].`
  if (shorter * channels < 16) return `AMCT's final check requires kernel × channels ≥ 16; it is ${shorter * channels}.`
  if (shorter < 7 && channels < 64)
    return `AMCT's final check requires at least 64 channels for kernels below 7×7; it has ${channels}.`
  return undefined
}

/** The orientation AMCT picks: the smaller channel count meets the smaller kernel extent. */
export function amctMode(site: Site): AmctMode {
  const [height, width] = site.kernel as [number, number]
  return `${site.outputs < site.inputs ? 'F' : 'S'}C${height <= width ? 'F' : 'S'}K`
}

/** The variant of the spatial form that a mode stands for: which axis the first convolution carries. */
export function variantOfMode(mode: AmctMode): 'h-w' | 'w-h' {
  return mode === 'SCFK' || mode === 'FCSK' ? 'h-w' : 'w-h'
}

/** The mode whose geometry a variant has on a site. */
export function modeOfVariant(site: Site, variant: string): AmctMode {
  if (variant === 'h-w') return site.outputs < site.inputs ? 'FCSK' : 'SCFK'
  return site.outputs < site.inputs ? 'FCFK' : 'SCSK'
}
