/** What a chain costs, from its stages. */
import type { Site } from '../sites.ts'
import { channelsOf, type Stage, volumeOf } from './stage.ts'

/** Parameters and, when shapes were observed, multiply–accumulates of a chain or of the site itself. */
export interface ChainCost {
  readonly parameters: number
  readonly macs: number | null
}

/** Elements of a stage's weight in each group. */
export function stageSize(site: Site, stage: Stage): number {
  const taps = volumeOf(site.kernel.filter((_, axis) => stage.carries[axis]))
  return (stage.depthwise ? 1 : stage.inputs) * stage.outputs * taps
}

/** Cost of a chain in a site's place, without the bias (which stays as it is); MACs for the observed shapes. */
export function chainCost(site: Site, stages: readonly Stage[]): ChainCost {
  let parameters = 0
  let macs: number | null = 0
  const positions = positionsOf(site)
  // Axes already carried by earlier stages have their final length.
  const finished = site.kernel.map(() => false)
  for (const stage of stages) {
    const weights = site.group * stageSize(site, stage)
    parameters += weights
    const before = [...finished]
    stage.carries.forEach((own, axis) => {
      if (own) finished[axis] = true
    })
    // A convolution works per output position, a transposed one per input position.
    const at = site.kind === 'transposed-convolution' ? before : finished
    const times = stage.between ? stage.between.before * stage.between.after : 1
    if (macs !== null) macs = positions ? macs + weights * times * positions(at) : null
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
