/**
 * Tensor trains.
 *
 * Of a kernel, modes in the order (in, kernel axes, out): W[o, i, h, w] ≈ Σ G1[i, r1] G2[r1, h, r2] G3[r2, w, r3]
 * G4[r3, o] is 1×1 (in → r1), k×1 (r1 → r2), 1×k (r2 → r3), 1×1 (r3 → out).
 *
 * Of a matrix, whose inputs n_1 · n_2 … and outputs m_1 · m_2 … are split into factors: W as a tensor
 * `[n_1 m_1, n_2 m_2, …]`, a core `[r_{k−1}, n_k, m_k, r_k]` for each (Novikov, Podoprikhin, Osokin, Vetrov,
 * "Tensorizing neural networks", NIPS 2015). The chain maps one factor of the features after the other. Inputs fall and
 * outputs rise along the train: that makes products cheapest, with the first map made smallest on what is then largest.
 */
import type { Site } from '../sites.ts'
import {
  axisStages,
  channelRefusal,
  channelsOf,
  type FactorisedChannels,
  type FormVariant,
  type Ranks,
  type Stage,
  type StageRole,
  volumeOf,
} from './stage.ts'

/** The trains that fit a site, or the reason why none does. */
export function trainVariants(site: Site): FormVariant[] | string {
  return site.kind === 'linear' ? matrixTrains(site) : kernelTrain(site)
}

/** Name of the rank between two cores, from 1 on. */
const rankName = (position: number): string => `r${position}`

/** Largest ranks between modes of the given extents, by name. */
function exactRanks(extents: readonly number[]): Ranks {
  const ranks: Record<string, number> = {}
  for (let k = 1; k < extents.length; k++)
    ranks[rankName(k)] = Math.min(volumeOf(extents.slice(0, k)), volumeOf(extents.slice(k)))
  return ranks
}

/** Lowers ranks until each is within what its neighbours and the extent between them allow. */
function fitRanks(extents: readonly number[], ranks: Ranks): Ranks {
  const fitted = [1, ...extents.slice(1).map((_, k) => ranks[rankName(k + 1)] ?? 1), 1]
  for (let k = 1; k < extents.length; k++) fitted[k] = Math.min(fitted[k]!, fitted[k - 1]! * extents[k - 1]!)
  for (let k = extents.length - 1; k > 0; k--) fitted[k] = Math.min(fitted[k]!, fitted[k + 1]! * extents[k]!)
  return Object.fromEntries(extents.slice(1).map((_, k) => [rankName(k + 1), fitted[k + 1]!]))
}

function kernelTrain(site: Site): FormVariant[] | string {
  if (volumeOf(site.kernel) === 1) return 'A tensor train of a 1-wide kernel is its channel SVD (method channel).'
  const refusal = channelRefusal(site)
  if (refusal) return refusal
  const axes = axisStages(site)
  if (!axes) return `Kernels of ${site.kernel.length} axes are not split.`
  if (axes.length > 1 && site.fixedOutput) return 'Its output_shape attribute fixes all axes at once.'
  const { inputs, outputs } = channelsOf(site)
  const extents = [inputs, ...axes.map(({ taps }) => taps), outputs]
  const none = site.kernel.map(() => false)
  const unfoldings: Record<string, FormVariant['unfoldings'][string]> = { [rankName(1)]: { kind: 'inputs' } }
  for (let k = 1; k < axes.length; k++)
    unfoldings[rankName(k + 1)] = {
      kind: 'split',
      carries: none.map((_, axis) => axes.slice(0, k).some(({ carries }) => carries[axis])),
    }
  unfoldings[rankName(axes.length + 1)] = { kind: 'outputs' }
  return [
    {
      form: 'tt',
      variant: '',
      fullRanks: exactRanks(extents),
      unfoldings,
      fit: (ranks) => fitRanks(extents, ranks),
      stages: (ranks) => {
        const between = (position: number): number => ranks[rankName(position)] ?? 0
        return [
          { role: 'first', inputs, outputs: between(1), carries: none },
          ...axes.map(
            ({ role, carries }, k): Stage => ({
              role,
              inputs: between(k + 1),
              outputs: between(k + 2),
              carries,
            }),
          ),
          { role: 'last', inputs: between(axes.length + 1), outputs, carries: none },
        ]
      },
    },
  ]
}

/** Numbers of cores that trains of matrices are made with. */
const CORES = [2, 3] as const

function matrixTrains(site: Site): FormVariant[] | string {
  const refusal = channelRefusal(site)
  if (refusal) return refusal
  const { inputs, outputs } = channelsOf(site)
  const variants: FormVariant[] = []
  for (const cores of CORES) {
    const channels = { inputs: balancedFactors(inputs, cores).reverse(), outputs: balancedFactors(outputs, cores) }
    // More cores than a dimension has prime factors leave extents of 1, which other trains do without.
    if ([...channels.inputs, ...channels.outputs].every((extent) => extent > 1)) variants.push(matrixTrain(channels))
  }
  if (variants.length > 0) return variants
  return `A tensor train needs channels that are products; it maps ${inputs} to ${outputs} (method svd).`
}

function matrixTrain(channels: FactorisedChannels): FormVariant {
  const { inputs, outputs } = channels
  const extents = inputs.map((extent, k) => extent * outputs[k]!)
  const last = extents.length - 1
  return {
    form: 'tt',
    variant: `${inputs.join('x')}-${outputs.join('x')}`,
    fullRanks: exactRanks(extents),
    unfoldings: Object.fromEntries(
      extents.slice(1).map((_, k) => [rankName(k + 1), { kind: 'pairs', at: k + 1, ...channels }]),
    ),
    channels,
    weightOnly: 'Tensor trains of matrices are fitted to the weight.',
    fit: (ranks) => fitRanks(extents, ranks),
    stages: (ranks) =>
      extents.map((_, k): Stage => {
        const role: StageRole = k === 0 ? 'first' : k === last ? 'last' : 'core'
        return {
          role,
          inputs: (k === 0 ? 1 : (ranks[rankName(k)] ?? 0)) * inputs[k]!,
          outputs: outputs[k]! * (k === last ? 1 : (ranks[rankName(k + 1)] ?? 0)),
          carries: [],
          between: { before: volumeOf(outputs.slice(0, k)), after: volumeOf(inputs.slice(k + 1)) },
        }
      }),
  }
}

/** A number as a product of `count` factors as equal as possible, rising; 1 among them where it has too few primes. */
export function balancedFactors(number: number, count: number): number[] {
  return risingFactors(number, count, 1) ?? [...new Array<number>(count - 1).fill(1), number]
}

/** The factors with the largest first one, all at least `least`. */
function risingFactors(number: number, count: number, least: number): number[] | undefined {
  if (count === 1) return number >= least ? [number] : undefined
  for (let factor = Math.floor(number ** (1 / count) + 1e-9); factor >= least; factor--) {
    const rest = number % factor === 0 ? risingFactors(number / factor, count - 1, factor) : undefined
    if (rest) return [factor, ...rest]
  }
  return undefined
}
