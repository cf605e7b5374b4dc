/** Candidates: the ways a unit (a layer, or the layers that share one weight) could be decomposed. */
import { alignRank, evbmf } from '../../decompose/index.ts'
import type { Site } from '../sites.ts'
import { amctMode, amctRefusal, variantOfMode } from './amct.ts'
import { type ChainCost, chainCost, siteCost } from './chain-cost.ts'
import { variantsOf } from './forms.ts'
import type { RankPolicy } from './policy.ts'
import { LEAST_TRAIN_OPSET } from './replace-train.ts'
import { type SiteSpectra, tails } from './spectra.ts'
import type { FormName, FormVariant, Ranks, Unfolding } from './stage.ts'

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

/** What ranks are aligned to and which variants are forced. */
export interface CandidateSettings {
  readonly align: number
  /** The only variant of a form to take, by form. */
  readonly variants?: { readonly [form in FormName]?: string | undefined } | undefined
  /** Version of the standard operators that the model uses. */
  readonly opset: number
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
    else if (settings.opset < LEAST_TRAIN_OPSET && found.some(({ channels }) => channels))
      reasons.push(
        `A tensor train of a matrix needs opset ${LEAST_TRAIN_OPSET} or later; the model has ${settings.opset}.`,
      )
    else variants.push(...found)
  }
  const fitting = variants.filter(({ form, variant }) => (settings.variants?.[form] ?? variant) === variant)
  if (fitting.length > 0) return fitting
  for (const form of new Set(variants.map((variant) => variant.form)))
    reasons.push(
      form === 'cp'
        ? `Its kernel has no CP chain of ${settings.variants?.cp} stages.`
        : 'The mode that was asked for splits kernels of two axes only.',
    )
  return [...new Set(reasons)].join(' ')
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
    fitted(
      variant,
      Object.fromEntries(roles.map((role) => [role, Math.max(1, Math.min(fullRanks[role]!, rank(role)))])),
    )
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
        const matrices = variant.form === 'cp' ? CHANNEL_UNFOLDINGS : [variant.unfoldings[role]!]
        raw[role] = Math.max(...(await Promise.all(matrices.map((unfolding) => evbmfRank(unit.spectra, unfolding)))))
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

/**
 * What stands for the CP rank under EVBMF: it is at least the rank of every unfolding, and those of the channels are
 * the ones that EVBMF is used on (Kim et al., ICLR 2016, for Tucker-2).
 */
const CHANNEL_UNFOLDINGS: readonly Unfolding[] = [{ kind: 'outputs' }, { kind: 'inputs' }]

async function evbmfRank(spectra: SiteSpectra, unfolding: Unfolding): Promise<number> {
  const matrices = await spectra.singularValues(unfolding)
  return Math.max(
    ...matrices.map(({ values, rows, cols }) => evbmf(values, rows, cols, { tolerance: 'relative' }).rank),
  )
}

function fitted(variant: FormVariant, ranks: Ranks): Ranks {
  return variant.fit?.(ranks) ?? ranks
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

/** At most so many ranks per role are tried, by the number of roles, so that combinations stay a few thousand. */
const GRID_LIMITS = [64, 64, 64, 16, 8]

/** Aligned ranks of a variant with their expected squared relative error; every combination of the roles' ranks. */
export async function rankGrid(
  unit: Unit,
  variant: FormVariant,
  align: number,
): Promise<{ ranks: Ranks; squared: number }[]> {
  const curves = await unit.spectra.curves(variant)
  const roles = Object.entries(variant.fullRanks)
  const limit = GRID_LIMITS[roles.length] ?? 4
  let grid: Record<string, number>[] = [{}]
  for (const [role, full] of roles) {
    const step = align * Math.max(1, Math.ceil(full / align / limit))
    const ranks: number[] = []
    for (let rank = step; rank < full; rank += step) ranks.push(rank)
    ranks.push(full)
    grid = grid.flatMap((point) => ranks.map((rank) => ({ ...point, [role]: rank })))
  }
  const lost = new Map(Object.entries(curves).map(([role, curve]) => [role, tails(curve)]))
  const expected = (ranks: Ranks): number => {
    let squared = 0
    for (const [role, tail] of lost) squared += tail[Math.min(ranks[role]!, tail.length - 1)] ?? 0
    return squared
  }
  // What is lowered to fit is a combination of its own, and may be there already.
  const possible = variant.fit ? distinct(grid.map((ranks) => fitted(variant, ranks))) : grid
  return possible.map((ranks) => ({ ranks, squared: expected(ranks) }))
}

function distinct(list: readonly Ranks[]): Ranks[] {
  return [...new Map(list.map((ranks) => [Object.values(ranks).join(), ranks])).values()]
}
