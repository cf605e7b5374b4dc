/**
 * Forms: which chains of smaller layers can be put in a layer's place; `stage.ts` has the vocabulary.
 *
 * Sources: Tucker-2: Kim et al., "Compression of deep convolutional neural networks for fast and low power mobile
 * applications", ICLR 2016. Spatial: Jaderberg et al., "Speeding up convolutional neural networks with low rank
 * expansions", BMVC 2014. Channel: Zhang et al., "Accelerating very deep convolutional networks", TPAMI 2016. CP and
 * trains: see `cp-forms.ts` and `train-forms.ts`.
 */
import type { Site } from '../sites.ts'
import { cpVariants } from './cp-forms.ts'
import { channelRefusal, channelsOf, type FormName, type FormVariant, volumeOf } from './stage.ts'
import { trainVariants } from './train-forms.ts'

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
    case 'cp':
      return cpVariants(site)
    case 'tt':
      return trainVariants(site)
  }
}

/** Every form. */
export const FORM_NAMES: readonly FormName[] = ['tucker', 'spatial', 'channel', 'svd', 'cp', 'tt']

/** The forms that `auto` chooses from. */
export const AUTO_FORMS: readonly FormName[] = ['tucker', 'spatial', 'channel', 'svd']

function tuckerVariants(site: Site): FormVariant[] | string {
  if (site.kind === 'linear') return 'Tucker-2 decomposes convolutions; a linear layer is a matrix (method svd).'
  if (volumeOf(site.kernel) === 1) return 'Tucker-2 gains nothing on a 1-wide kernel (method channel).'
  const refusal = channelRefusal(site)
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
      unfoldings: { output: { kind: 'outputs' }, input: { kind: 'inputs' } },
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
      unfoldings: { rank: { kind: 'split', carries } },
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
  const refusal = channelRefusal(site)
  if (refusal) return refusal
  const { inputs, outputs } = channelsOf(site)
  const taps = volumeOf(site.kernel)
  const none = site.kernel.map(() => false)
  const all = site.kernel.map(() => true)
  const kernelFirst: FormVariant = {
    form: 'channel',
    variant: 'kernel-first',
    fullRanks: { rank: Math.min(outputs, inputs * taps) },
    unfoldings: { rank: { kind: 'outputs' } },
    stages: ({ rank = 0 }) => [
      { role: 'first', inputs, outputs: rank, carries: all },
      { role: 'last', inputs: rank, outputs, carries: none },
    ],
  }
  const kernelLast: FormVariant = {
    form: 'channel',
    variant: 'kernel-last',
    fullRanks: { rank: Math.min(inputs, outputs * taps) },
    unfoldings: { rank: { kind: 'inputs' } },
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
  const refusal = channelRefusal(site)
  if (refusal) return refusal
  const { inputs, outputs } = channelsOf(site)
  return [
    {
      form: 'svd',
      variant: '',
      fullRanks: { rank: Math.min(outputs, inputs) },
      unfoldings: { rank: { kind: 'outputs' } },
      stages: ({ rank = 0 }) => [
        { role: 'first', inputs, outputs: rank, carries: [] },
        { role: 'last', inputs: rank, outputs, carries: [] },
      ],
    },
  ]
}
