/**
 * The vocabulary of forms: the chains of smaller layers that a low-rank decomposition puts in a layer's place.
 *
 * A form is data: the stages of its chain, each with the channels it maps and the kernel axes it carries. Costs,
 * weights and nodes are all derived from the stages, so a form is described once. The stage that carries a kernel axis
 * carries that axis' stride, padding, dilation and output padding; on the other axes it is 1 wide with stride 1.
 * Only the last stage has the bias. Grouped layers are decomposed within each group.
 */
import type { Site } from '../sites.ts'

/** Which kind of chain. */
export type FormName = 'tucker' | 'spatial' | 'channel' | 'svd' | 'cp' | 'tt'

/**
 * Which place a stage has in its chain. Every chain has a first and a last stage; `core` carries all kernel axes at
 * once (or is the middle of a train of matrices), the others carry the kernel axis they are named after.
 */
export type StageRole = 'first' | 'core' | 'depth' | 'height' | 'width' | 'last'

/** One layer of a chain. */
export interface Stage {
  readonly role: StageRole
  /** Input channels of each group. */
  readonly inputs: number
  /** Output channels of each group. */
  readonly outputs: number
  /** Whether the stage carries each kernel axis; `[]` for linear layers. */
  readonly carries: readonly boolean[]
  /** Whether each channel is convolved by itself: as many outputs as inputs, one kernel each. Default false. */
  readonly depthwise?: boolean
  /**
   * Linear layers whose features are split into several axes: the stage maps the middle axis of
   * `[…, before, inputs, after]`, before · after times per row. Default: one of `[…, inputs]`.
   */
  readonly between?: { readonly before: number; readonly after: number }
}

/** Ranks of each group, by role: `{ rank }`, `{ output, input }` for Tucker-2, `{ r1, r2 … }` for trains. */
export type Ranks = Readonly<Record<string, number>>

/** A matrix that the weight of a group is laid out as; its spectrum tells what truncating a rank costs. */
export type Unfolding =
  /** `[out, in · taps]` */
  | { readonly kind: 'outputs' }
  /** `[in, out · taps]` */
  | { readonly kind: 'inputs' }
  /** `[in · carried taps, out · other taps]` */
  | { readonly kind: 'split'; readonly carries: readonly boolean[] }
  /** `[first inputs · first outputs, other inputs · other outputs]` of factorised channels, cut after `at` of them. */
  | ({ readonly kind: 'pairs'; readonly at: number } & FactorisedChannels)

/** Channels as products: inputs = n_1 · n_2 …, outputs = m_1 · m_2 …, equally many. */
export interface FactorisedChannels {
  readonly inputs: readonly number[]
  readonly outputs: readonly number[]
}

/** A form applied to a site's geometry. */
export interface FormVariant {
  readonly form: FormName
  /** Distinguishes variants of a form: `'h-w'`, `'kernel-first'`, `'4'` …; `''` where there is one. */
  readonly variant: string
  /** The largest useful rank of each role. */
  readonly fullRanks: Ranks
  /** What each rank truncates, by role; a rank that truncates no matrix (that of cp) is not listed. */
  readonly unfoldings: Readonly<Record<string, Unfolding>>
  /** Present for trains of matrices: how their channels are split. */
  readonly channels?: FactorisedChannels
  /** Why factors are always fitted to the weight, where they are. */
  readonly weightOnly?: string
  /** Lowers ranks to what the others leave room for; absent where ranks do not bound each other. */
  fit?(ranks: Ranks): Ranks
  stages(ranks: Ranks): Stage[]
}

/** Product of extents; 1 for none. */
export const volumeOf = (extents: readonly number[]): number => extents.reduce((product, extent) => product * extent, 1)

/** Channels of one group. */
export const channelsOf = (site: Site): { inputs: number; outputs: number } => ({
  inputs: site.inputs / site.group,
  outputs: site.outputs / site.group,
})

/** Why no form that reduces channels takes a site, if so. */
export function channelRefusal(site: Site): string | undefined {
  const { inputs, outputs } = channelsOf(site)
  if (inputs === 0 || outputs === 0 || volumeOf(site.kernel) === 0) return 'Its weight is empty.'
  if (inputs === 1 || outputs === 1)
    return site.group > 1
      ? `Each of its ${site.group} groups maps ${inputs} to ${outputs} channels; there is no rank to reduce.`
      : `It maps ${inputs} to ${outputs} channels; there is no channel rank to reduce.`
  return undefined
}

const AXIS_ROLES: Readonly<Record<number, readonly StageRole[]>> = {
  1: ['core'],
  2: ['height', 'width'],
  3: ['depth', 'height', 'width'],
}

/** The middle of a chain that takes kernel axes one by one. */
export interface AxisStage {
  readonly role: StageRole
  readonly carries: readonly boolean[]
  readonly taps: number
}

/**
 * One stage for every kernel axis wider than 1, in order; the first also carries the axes that are 1 wide, with their
 * strides and paddings. `undefined` for kernels of more than three axes.
 */
export function axisStages(site: Site): AxisStage[] | undefined {
  const roles = AXIS_ROLES[site.kernel.length]
  if (!roles) return undefined
  const wide = site.kernel.flatMap((extent, axis) => (extent > 1 ? [axis] : []))
  return wide.map((own, position) => ({
    role: wide.length === 1 ? 'core' : roles[own]!,
    carries: site.kernel.map((extent, axis) => axis === own || (position === 0 && extent === 1)),
    taps: site.kernel[own]!,
  }))
}
