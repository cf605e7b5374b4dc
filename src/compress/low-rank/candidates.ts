/** Candidates: the ways a unit (a layer, or the layers that share one weight) could be decomposed. */
import { alignRank, evbmf } from '../../decompose/index.ts'
import type { Site } from '../sites.ts'
import { amctMode, amctRefusal, variantOfMode } from './amct.ts'
import {
  type ChainCost,
  chainCost,
  type FormName,
  type FormVariant,
  type Ranks,
  siteCost,
  variantsOf,
} from './forms.ts'
import type { RankPolicy } from './policy.ts'
import { type SiteSpectra, tails } from './spectra.ts'

/** Sites that share one weight and are decomposed alike; usually one. */
export interface Unit {
  readonly leader: Site
  readonly sites: readonly Site[]
  readonly spectra: SiteSpectra
}

/** A form at certain ranks, with its cost. */
export interface Candidate {
  readonly variant: FormVariant
  readonly ranks: Ranks
  readonly rawRanks?: Readonly<Record<string, number>> | undefined
  /** Whether the raw ranks come from an estimate of the spectrum. */
  readonly rawIsEstimate?: boolean | undefined
  readonly parameters: number
  readonly macs: number | null
  /** Expected relative error, when it was computed. */
  readonly estimatedError?: number | undefined
}

/** What ranks are aligned to and which variant of the spatial form is forced. */
export interface CandidateSettings {
  readonly align: number
  readonly variant?: string | undefined
  /** Of estimates of large spectra. */
  readonly seed: number
  readonly signal?: AbortSignal | undefined
}

/** Cost of a chain for a whole unit: the weight counts once, the work of every site. */
export function unitCost(unit: Unit, cost: (site: Site) => ChainCost): ChainCost {
  let macs: number | null = 0
  for (const site of unit.sites) {
    const own = cost(site).macs
    macs = macs === null || own === null ? null : macs + own
  }
  return { parameters: cost(unit.leader).parameters, macs }
}

/** Cost of a unit as it stands. */
export function unitBefore(unit: Unit): ChainCost {
  return unitCost(unit, siteCost)
}

/** The candidate of a variant at given ranks. */
export function candidateOf(unit: Unit, variant: FormVariant, ranks: Ranks): Candidate {
  const cost = unitCost(unit, (site) => chainCost(site, variant.stages(ranks)))
  return { variant, ranks, ...cost }
}

/** Whether a candidate is cheaper: fewer MACs or parameters, not more of the other, and more MACs for no layer. */
export function isCheaper(unit: Unit, candidate: Candidate): boolean {
  const before = unitBefore(unit)
  if (candidate.macs === null || before.macs === null) return candidate.parameters < before.parameters
  const less = candidate.macs < before.macs || candidate.parameters < before.parameters
  return less && candidate.parameters <= before.parameters && !dearerSite(unit, candidate)
}

/** A layer of the unit that a candidate would make dearer, in MACs. */
export function dearerSite(
  unit: Unit,
  { variant, ranks }: Candidate,
): { readonly before: number; readonly after: number } | undefined {
  const stages = variant.stages(ranks)
  for (const site of unit.sites) {
    const before = siteCost(site).macs
    const after = chainCost(site, stages).macs
    if (before !== null && after !== null && after > before) return { before, after }
  }
  return undefined
}

/** The variants of the wanted forms that fit a unit, or the reasons why none does. */
export function unitVariants(
  unit: Unit,
  forms: readonly FormName[],
  settings: CandidateSettings,
): FormVariant[] | string {
  const reasons: string[] = []
  const variants: FormVariant[] = []
  for (const form of forms) {
    const found = variantsOf(form, unit.leader)
    if (typeof found === 'string') reasons.push(found)
    else if (unit.sites.length > 1 && unit.sites.some((site) => typeof variantsOf(form, site) === 'string'))
      reasons.push('Another layer that shares its weight cannot take this form.')
    else variants.push(...found)
  }
  const wanted = settings.variant
  const fitting = wanted
    ? variants.filter((variant) => variant.form !== 'spatial' || variant.variant === wanted)
    : variants
  if (fitting.length > 0) return fitting
  return [...new Set(reasons)].join(' ') || 'The mode that was asked for splits kernels of two axes only.'
}

/** Ranks that a policy gives a variant; a string says why it gives none. */
export async function ranksByPolicy(
  unit: Unit,
  variant: FormVariant,
  policy: RankPolicy,
  settings: CandidateSettings,
): Promise<Pick<Candidate, 'ranks' | 'rawRanks' | 'rawIsEstimate'> | string> {
  const { fullRanks } = variant
  const roles = Object.keys(fullRanks)
  const each = (rank: (role: string) => number): Ranks =>
    Object.fromEntries(roles.map((role) => [role, Math.max(1, Math.min(fullRanks[role]!, rank(role)))]))
  const align = (rank: number, role: string): number => alignRank(rank, settings.align, fullRanks[role]!)
  switch (policy.kind) {
    case 'fixed':
      return { ranks: each(() => policy.rank) }
    case 'ratio': {
      const rank = (policy.ratio * unit.leader.outputs) / unit.leader.group
      return { ranks: each((role) => align(rank, role)) }
    }
    case 'energy': {
      const curves = await unit.spectra.curves(variant)
      return { ranks: each((role) => align(rankWithin(tails(curves[role]!), 1 - policy.energy), role)) }
    }
    case 'error':
      return errorRanks(unit, variant, policy.error, settings)
    case 'evbmf': {
      const raw: Record<string, number> = {}
      for (const role of roles) {
        const unfoldings = await unit.spectra.singularValues(variant, role)
        raw[role] = Math.max(
          ...unfoldings.map(({ values, rows, cols }) => evbmf(values, rows, cols, { tolerance: 'relative' }).rank),
        )
      }
      return { ranks: each((role) => align(Math.max(1, raw[role]!), role)), rawRanks: raw }
    }
    case 'amct': {
      const refusal = unit.sites.map(amctRefusal).find((reason) => reason !== undefined)
      if (refusal) return refusal
      // AMCT's rank comes from its own orientation, also where another is asked for.
      const own = (variantsOf('spatial', unit.leader) as FormVariant[]).find(
        (other) => other.variant === variantOfMode(amctMode(unit.leader)),
      )!
      const { rank, raw, estimated } = await unit.spectra.amctRank(own, {
        seed: settings.seed,
        signal: settings.signal,
      })
      return { ranks: { rank }, rawRanks: { rank: raw }, rawIsEstimate: estimated }
    }
  }
}

/** The smallest rank whose tail is within a bound. */
function rankWithin(tail: Float64Array, bound: number): number {
  // Spectra come from Gram matrices; a bound below their rounding asks for full rank.
  for (let rank = 0; rank < tail.length; rank++) if (tail[rank]! <= bound) return rank
  return tail.length - 1
}

/** The cheapest aligned ranks whose truncated energies sum to at most error². */
async function errorRanks(
  unit: Unit,
  variant: FormVariant,
  error: number,
  settings: CandidateSettings,
): Promise<Pick<Candidate, 'ranks'> | string> {
  const bound = error ** 2
  const grid = await rankGrid(unit, variant, settings.align)
  let best: Candidate | undefined
  for (const { ranks, squared } of grid) {
    if (squared > bound) continue
    const candidate = candidateOf(unit, variant, ranks)
    if (!best || costOf(candidate) < costOf(best)) best = candidate
  }
  return best ? { ranks: best.ranks } : `No rank keeps the relative error within ${error}.`
}

/** MACs where known, parameters otherwise. */
export function costOf(cost: ChainCost): number {
  return cost.macs ?? cost.parameters
}

/** At most this many ranks per role are tried, so that Tucker's pairs stay few thousand. */
const GRID_LIMIT = 64

/** Aligned ranks of a variant with their expected squared relative error; every pair of ranks for Tucker-2. */
export async function rankGrid(
  unit: Unit,
  variant: FormVariant,
  align: number,
): Promise<{ ranks: Ranks; squared: number }[]> {
  const curves = await unit.spectra.curves(variant)
  let grid: { ranks: Record<string, number>; squared: number }[] = [{ ranks: {}, squared: 0 }]
  for (const [role, full] of Object.entries(variant.fullRanks)) {
    const tail = tails(curves[role]!)
    const step = align * Math.max(1, Math.ceil(full / align / GRID_LIMIT))
    const ranks: number[] = []
    for (let rank = step; rank < full; rank += step) ranks.push(rank)
    ranks.push(full)
    grid = grid.flatMap((point) =>
      ranks.map((rank) => ({
        ranks: { ...point.ranks, [role]: rank },
        squared: point.squared + (tail[Math.min(rank, tail.length - 1)] ?? 0),
      })),
    )
  }
  return grid
}
