/**
 * Forms: the chains of smaller layers that a low-rank decomposition puts in a layer's place.
 *
 * A form is data: the stages of its chain, each with the channels it maps and the kernel axes it carries. Costs,
 * weights and nodes are all derived from the stages, so a form is described once. The stage that carries a kernel axis
 * carries that axis' stride, padding, dilation and output padding; on the other axes it is 1 wide with stride 1.
 * Only the last stage has the bias. Grouped layers are decomposed within each group.
 *
 * Sources: Tucker-2: Kim et al., "Compression of deep convolutional neural networks for fast and low power mobile
 * applications", ICLR 2016. Spatial: Jaderberg et al., "Speeding up convolutional neural networks with low rank
 * expansions", BMVC 2014. Channel: Zhang et al., "Accelerating very deep convolutional networks", TPAMI 2016.
 */
import type { Site } from '../sites.ts'

/** Which kind of chain. */
export type FormName = 'tucker' | 'spatial' | 'channel' | 'svd'

/** One layer of a chain. */
export interface Stage {
  readonly role: 'first' | 'core' | 'last'
  /** Input channels of each group. */
  readonly inputs: number
  /** Output channels of each group. */
  readonly outputs: number
  /** Whether the stage carries each kernel axis; `[]` for linear layers. */
  readonly carries: readonly boolean[]
}

/** Ranks of each group, by role: `{ rank }`, or `{ output, input }` for Tucker-2. */
export type Ranks = Readonly<Record<string, number>>

/** A form applied to a site's geometry. */
export interface FormVariant {
  readonly form: FormName
  /** Distinguishes variants of a form: `'h-w'`, `'first-kernel'` …; `''` where there is one. */
  readonly variant: string
  /** The largest useful rank of each role. */
  readonly fullRanks: Ranks
  stages(ranks: Ranks): Stage[]
}

/** The variants of one form that fit a site, or the reason why none does. */
export function variantsOf(form: FormName, site: Site): FormVariant[] | string {
  switch (form) {
    case 'tucker':
      return tuckerVariants(site)
    case 'spatial':
      return spatialVariants(site)
    case 'channel':
      return channelVariants(site)
    case 'svd':
      return svdVariants(site)
  }
}

/** Every form. */
export const FORM_NAMES: readonly FormName[] = ['tucker', 'spatial', 'channel', 'svd']

const volumeOf = (extents: readonly number[]): number => extents.reduce((product, extent) => product * extent, 1)

const channelsOf = (site: Site): { inputs: number; outputs: number } => ({
  inputs: site.inputs / site.group,
  outputs: site.outputs / site.group,
})

function commonRefusal(site: Site): string | undefined {
  const { inputs, outputs } = channelsOf(site)
  if (inputs === 0 || outputs === 0 || volumeOf(site.kernel) === 0) return 'Its weight is empty.'
  if (inputs === 1 || outputs === 1)
    return site.group > 1
      ? `Each of its ${site.group} groups maps ${inputs} to ${outputs} channels; there is no rank to reduce.`
      : `It maps ${inputs} to ${outputs} channels; there is no channel rank to reduce.`
  return undefined
}

function tuckerVariants(site: Site): FormVariant[] | string {
  if (site.kind === 'linear') return 'Tucker-2 decomposes convolutions; a linear layer is a matrix (method svd).'
  if (volumeOf(site.kernel) === 1) return 'Tucker-2 gains nothing on a 1-wide kernel (method channel).'
  const refusal = commonRefusal(site)
  if (refusal) return refusal
  const { inputs, outputs } = channelsOf(site)
  const none = site.kernel.map(() => false)
  const all = site.kernel.map(() => true)
  const taps = volumeOf(site.kernel)
  return [
    {
      form: 'tucker',
      variant: '',
      fullRanks: { output: Math.min(outputs, inputs * taps), input: Math.min(inputs, outputs * taps) },
      stages: ({ output = 0, input = 0 }) => [
        { role: 'first', inputs, outputs: input, carries: none },
        { role: 'core', inputs: input, outputs: output, carries: all },
        { role: 'last', inputs: output, outputs, carries: none },
      ],
    },
  ]
}

const AXIS_LETTERS: Readonly<Record<number, readonly string[]>> = { 2: ['h', 'w'], 3: ['d', 'h', 'w'] }

function spatialVariants(site: Site): FormVariant[] | string {
  if (site.kind === 'linear') return 'Spatial SVD decomposes convolutions; a linear layer has no kernel axes.'
  const { inputs, outputs } = channelsOf(site)
  const rank = site.kernel.length
  if (site.kernel.filter((extent) => extent > 1).length < 2)
    return `Spatial SVD splits two kernel axes; kernel [${site.kernel.join(', ')}] has fewer that are wider than 1.`
  if (inputs === 0 || outputs === 0) return 'Its weight is empty.'
  if (site.fixedOutput) return 'Its output_shape attribute fixes both axes at once.'
  if (rank > 3) return `Kernels of ${rank} axes are not split.`
  const letters = AXIS_LETTERS[rank]!
  const variants: FormVariant[] = []
  // Every way to give some kernel axes to the first stage and the rest to the last.
  for (let mask = 1; mask < 2 ** rank - 1; mask++) {
    const carries = site.kernel.map((_, axis) => (mask & (1 << axis)) !== 0)
    const taken = volumeOf(site.kernel.filter((_, axis) => carries[axis]))
    const left = volumeOf(site.kernel) / taken
    if (taken === 1 || left === 1) continue
    const name = (own: boolean): string => letters.filter((_, axis) => carries[axis] === own).join('')
    variants.push({
      form: 'spatial',
      variant: `${name(true)}-${name(false)}`,
      fullRanks: { rank: Math.min(inputs * taken, outputs * left) },
      stages: ({ rank: r = 0 }) => [
        { role: 'first', inputs, outputs: r, carries },
        { role: 'last', inputs: r, outputs, carries: carries.map((own) => !own) },
      ],
    })
  }
  return variants
}

function channelVariants(site: Site): FormVariant[] | string {
  if (site.kind === 'linear') return 'Channel SVD decomposes convolutions; a linear layer is a matrix (method svd).'
  const refusal = commonRefusal(site)
  if (refusal) return refusal
  const { inputs, outputs } = channelsOf(site)
  const taps = volumeOf(site.kernel)
  const none = site.kernel.map(() => false)
  const all = site.kernel.map(() => true)
  const kernelFirst: FormVariant = {
    form: 'channel',
    variant: 'kernel-first',
    fullRanks: { rank: Math.min(outputs, inputs * taps) },
    stages: ({ rank = 0 }) => [
      { role: 'first', inputs, outputs: rank, carries: all },
      { role: 'last', inputs: rank, outputs, carries: none },
    ],
  }
  const kernelLast: FormVariant = {
    form: 'channel',
    variant: 'kernel-last',
    fullRanks: { rank: Math.min(inputs, outputs * taps) },
    stages: ({ rank = 0 }) => [
      { role: 'first', inputs, outputs: rank, carries: none },
      { role: 'last', inputs: rank, outputs, carries: all },
    ],
  }
  return [kernelFirst, kernelLast]
}

function svdVariants(site: Site): FormVariant[] | string {
  if (site.kind !== 'linear')
    return 'Matrix SVD decomposes linear layers; use tucker, spatial or channel for convolutions.'
  const refusal = commonRefusal(site)
  if (refusal) return refusal
  const { inputs, outputs } = channelsOf(site)
  return [
    {
      form: 'svd',
      variant: '',
      fullRanks: { rank: Math.min(outputs, inputs) },
      stages: ({ rank = 0 }) => [
        { role: 'first', inputs, outputs: rank, carries: [] },
        { role: 'last', inputs: rank, outputs, carries: [] },
      ],
    },
  ]
}

/** Parameters and, when shapes were observed, multiply–accumulates of a chain or of the site itself. */
export interface ChainCost {
  readonly parameters: number
  readonly macs: number | null
}

/** Cost of a chain in a site's place, without the bias (which stays as it is); MACs for the observed shapes. */
export function chainCost(site: Site, stages: readonly Stage[]): ChainCost {
  let parameters = 0
  let macs: number | null = 0
  const positions = positionsOf(site)
  // Axes already carried by earlier stages have their final length.
  const finished = site.kernel.map(() => false)
  for (const stage of stages) {
    const taps = volumeOf(site.kernel.filter((_, axis) => stage.carries[axis]))
    const weights = site.group * stage.inputs * stage.outputs * taps
    parameters += weights
    const before = [...finished]
    stage.carries.forEach((own, axis) => {
      if (own) finished[axis] = true
    })
    // A convolution works per output position, a transposed one per input position.
    const at = site.kind === 'transposed-convolution' ? before : finished
    if (macs !== null) macs = positions ? macs + weights * positions(at) : null
  }
  return { parameters, macs }
}

/** Cost of the site as it stands, without bias. */
export function siteCost(site: Site): ChainCost {
  const { inputs, outputs } = channelsOf(site)
  return chainCost(site, [{ role: 'core', inputs, outputs, carries: site.kernel.map(() => true) }])
}

/** Positions a weight is applied at in the whole batch, given which spatial axes already have their output length. */
function positionsOf(site: Site): ((finished: readonly boolean[]) => number) | undefined {
  const { inputShape, outputShape } = site
  if (!outputShape || !inputShape) return undefined
  if (site.kind === 'linear') {
    const rows = volumeOf(outputShape.slice(0, -1))
    return () => rows
  }
  const batch = outputShape[0]!
  return (finished) =>
    batch * volumeOf(site.kernel.map((_, axis) => (finished[axis] ? outputShape[axis + 2]! : inputShape[axis + 2]!)))
}
