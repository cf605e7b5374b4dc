/** Planning: which layers are decomposed, how, and at which ranks; every layer left alone gets its reason. */
import { checkAborted, fail, matchesAny, type TaskOptions } from '../../core/index.ts'
import type { MatrixEngine } from '../../decompose/index.ts'
import { GraphIndex, type Model, modelHash } from '../../graph/index.ts'
import type { Skip } from '../method.ts'
import { findSites, type ObservedShapes, type Site } from '../sites.ts'
import { allocate } from './allocate.ts'
import { type AmctMode, amctMode, amctRefusal, variantOfMode } from './amct.ts'
import {
  type Candidate,
  type CandidateSettings,
  candidateOf,
  costOf,
  dearerSite,
  isCheaper,
  rankGrid,
  ranksByPolicy,
  type Unit,
  unitBefore,
  unitVariants,
} from './candidates.ts'
import { chainCost, siteCost } from './chain-cost.ts'
import { AUTO_FORMS, FORM_NAMES } from './forms.ts'
import type { SiteMoments } from './moments.ts'
import { type Budget, type RankPolicy, readBudget, readRankPolicy } from './policy.ts'
import { canShiftBias } from './replace.ts'
import { canFitSequentially } from './sequential.ts'
import { SiteSpectra } from './spectra.ts'
import type { FormName, FormVariant } from './stage.ts'
import { LOW_RANK_PLAN_VERSION, type LowRankPlan, type LowRankStep } from './step.ts'

/** Options of {@link planLowRank}. */
export interface LowRankOptions {
  /**
   * Which form; default `'auto'`: whatever fits the layer best of Tucker-2, spatial, channel and matrix SVD. CP and tensor
   * trains are chosen by name: CP often loses least, but its curves and factors take seconds per layer where those of the
   * others take milliseconds; trains of kernels lose more than the others at equal cost.
   */
  readonly method?: 'auto' | FormName | undefined
  /** How ranks are chosen, when no budget is given: a policy, its short form or a number; default `'energy=0.9'`. */
  readonly rank?: RankPolicy | string | number | undefined
  /** A cost target for the whole network, `'macs=0.5'` for short; overrides `rank`. */
  readonly budget?: Budget | string | undefined
  /** Chosen ranks are multiples of this; default 16, the block ONNX Runtime's kernels like. Fixed ranks stay as given. */
  readonly align?: number | undefined
  /** Orientation of spatial SVD; default: AMCT's rule, or whichever is better under a budget. */
  readonly mode?: AmctMode | undefined
  /**
   * Stages of CP chains: 3 is 1×1, depthwise k×k, 1×1; 4 is 1×1, depthwise k×1, depthwise 1×k, 1×1 (5 for three kernel
   * axes); default: whichever is better.
   */
  readonly cpStages?: 3 | 4 | 5 | undefined
  /**
   * Whether CP is guarded against degeneracy, terms that grow and cancel each other; default true. Without, it is
   * alternating least squares alone.
   */
  readonly cpGuard?: boolean | undefined
  /** Decompose only layers whose names match one of these patterns (`*`, `?`). */
  readonly only?: readonly string[] | undefined
  /** Leave layers alone whose names match one of these patterns. */
  readonly skip?: readonly string[] | undefined
  /** Seed of the randomised factorisations that large layers begin with; default 0. */
  readonly seed?: number | undefined
  /**
   * Fits each layer to its original output from the input that the compressed layers before it deliver; one more pass
   * over the data for every layer. Needs data. Default false.
   */
  readonly sequential?: boolean | undefined
}

/** What planning needs besides the model. */
export interface PlanContext extends TaskOptions {
  readonly matrices: MatrixEngine
  /** Observed shapes, for MACs. */
  readonly shapes?: ObservedShapes | undefined
  /** Cost of the whole model, which a budget is a share of; default: the cost of its sites. */
  readonly totals?: { readonly parameters: number; readonly macs: number | null } | undefined
  /** Moments of each site's input, when factors are to be fitted to data. */
  readonly moments?: ReadonlyMap<string, SiteMoments> | undefined
}

/**
 * Plans the decomposition of a model; changes nothing.
 *
 * @throws WhittleError `INVALID_ARGUMENT` for patterns that match nothing and budgets that cannot be reached,
 *   `NOT_FINITE` for weights with NaN.
 */
export async function planLowRank(model: Model, options: LowRankOptions, context: PlanContext): Promise<LowRankPlan> {
  const method = options.method ?? 'auto'
  if (method !== 'auto' && !FORM_NAMES.includes(method))
    fail('INVALID_ARGUMENT', `Method '${method}' does not exist; use auto, ${FORM_NAMES.join(', ')}.`)
  const policy = readRankPolicy(options.rank ?? 'energy=0.9')
  const budget = options.budget === undefined ? undefined : readBudget(options.budget)
  const { sites, skips: unusable } = findSites(model, context.shapes)
  const skips: Skip[] = [...unusable]
  const warnings: string[] = []
  const settings: CandidateSettings = {
    align: checkAlign(options.align ?? 16),
    variants: {
      spatial: options.mode === undefined ? undefined : variantOfMode(options.mode),
      cp: options.cpStages === undefined ? undefined : String(options.cpStages),
    },
    opset: model.opsets.get('') ?? 1,
    seed: options.seed ?? 0,
    signal: context.signal,
  }
  const units = makeUnits(model, selectSites(sites, options, skips), context, skips, settings.seed)
  const steps = budget
    ? await planBudget(sites, units, options, budget, settings, context, skips, warnings)
    : await planByPolicy(units, options, policy, settings, context, skips)
  if (steps.length === 0) warnings.push('No layer was decomposed.')
  const order = new Map(model.graph.nodes.map((node, index) => [node.name, index]))
  const byPosition =
    <T>(name: (item: T) => string) =>
    (a: T, b: T) =>
      (order.get(name(a)) ?? 0) - (order.get(name(b)) ?? 0)
  steps.sort(byPosition((step) => step.site))
  for (const { site, rawRanks } of steps)
    if (Object.values(rawRanks ?? {}).includes(0))
      warnings.push(`EVBMF finds nothing but noise in the weight of '${site}'. Check that the network is trained.`)
  return {
    method: 'low-rank',
    version: LOW_RANK_PLAN_VERSION,
    model: modelHash(model),
    seed: options.seed ?? 0,
    steps: options.sequential ? inSequence(steps, sites) : steps,
    skips: skips.sort(byPosition((skip) => skip.name)),
    warnings,
  }
}

/** Marks the steps whose input others have changed, where a fit to it is possible. */
function inSequence(steps: readonly LowRankStep[], sites: readonly Site[]): LowRankStep[] {
  const fitting = new Set(sites.filter(canFitSequentially).map((site) => site.name))
  return steps.map((step, position) =>
    position > 0 && step.dataAware && fitting.has(step.site) ? { ...step, sequential: true } : step,
  )
}

function checkAlign(align: number): number {
  if (!Number.isInteger(align) || align < 1)
    fail(
      'INVALID_ARGUMENT',
      `Align ${align}: ranks are aligned to a whole number of at least 1. Use 1 for no alignment.`,
    )
  return align
}

function selectSites(sites: readonly Site[], options: LowRankOptions, skips: Skip[]): Site[] {
  for (const pattern of [...(options.only ?? []), ...(options.skip ?? [])])
    if (!sites.some((site) => matchesAny(site.name, [pattern])))
      fail('INVALID_ARGUMENT', `Pattern '${pattern}' matches no layer. 'whittle inspect' lists the names.`)
  return sites.filter((site) => {
    if (options.only && options.only.length > 0 && !matchesAny(site.name, options.only))
      skips.push({ name: site.name, reason: 'Not selected (only).' })
    else if (matchesAny(site.name, options.skip ?? []))
      skips.push({ name: site.name, reason: 'Left out on request (skip).' })
    else return true
    return false
  })
}

/** Groups sites by weight; a weight that something else uses too is left alone. */
function makeUnits(model: Model, sites: readonly Site[], context: PlanContext, skips: Skip[], seed: number): Unit[] {
  const index = new GraphIndex(model.graph)
  const byWeight = new Map<string, Site[]>()
  for (const site of sites) byWeight.set(site.weightName, [...(byWeight.get(site.weightName) ?? []), site])
  const units: Unit[] = []
  for (const [weight, shared] of byWeight) {
    const leader = shared[0]!
    const stranger = index.users(weight).find((user) => !shared.some((site) => site.node === user))
    const reason = index.isOutput(weight)
      ? `Its weight '${weight}' is an output of the graph.`
      : stranger
        ? `Its weight '${weight}' is also used by ${stranger.opType} '${stranger.name}'.`
        : sharedReason(shared)
    if (reason) for (const site of shared) skips.push({ name: site.name, reason })
    else {
      // Data of several sites would have to be merged; a shared weight is fitted to the weight alone.
      const moments = shared.length === 1 ? context.moments?.get(leader.name) : undefined
      const spectra = new SiteSpectra(leader, context.matrices, { moments, seed, signal: context.signal })
      units.push({ leader, sites: shared, spectra })
    }
  }
  return units
}

function sharedReason(shared: readonly Site[]): string | undefined {
  const [leader, ...others] = shared
  const odd = others.find(
    (site) =>
      site.op !== leader!.op ||
      site.group !== leader!.group ||
      site.weightIsOutputFirst !== leader!.weightIsOutputFirst,
  )
  return odd ? `Its weight is shared by '${leader!.name}' and '${odd.name}', which use it differently.` : undefined
}

function formsOf(options: LowRankOptions): readonly FormName[] {
  const method = options.method ?? 'auto'
  return method === 'auto' ? AUTO_FORMS : [method]
}

async function planByPolicy(
  units: readonly Unit[],
  options: LowRankOptions,
  policy: RankPolicy,
  settings: CandidateSettings,
  context: PlanContext,
  skips: Skip[],
): Promise<LowRankStep[]> {
  if (
    policy.kind === 'amct' &&
    options.method !== undefined &&
    options.method !== 'auto' &&
    options.method !== 'spatial'
  )
    fail(
      'INVALID_ARGUMENT',
      `Rank 'amct' belongs to spatial decomposition; got method '${options.method}'. Use --method spatial.`,
    )
  const forms = policy.kind === 'amct' ? (['spatial'] as const) : formsOf(options)
  if (policy.kind === 'fixed') checkFixedRank(units, forms, policy.rank, settings)
  const steps: LowRankStep[] = []
  for (const [done, unit] of units.entries()) {
    checkAborted(context.signal)
    context.onProgress?.({ stage: 'plan', done, total: units.length, item: unit.leader.name })
    const chosen = await chooseByPolicy(unit, forms, policy, settings)
    if (typeof chosen === 'string') for (const site of unit.sites) skips.push({ name: site.name, reason: chosen })
    else steps.push(...stepsOf(unit, chosen, options, context))
  }
  context.onProgress?.({ stage: 'plan', done: units.length, total: units.length })
  return steps
}

/** Policies under which forms can be compared by cost, because they promise comparable errors. */
const COMPARABLE = new Set<RankPolicy['kind']>(['energy', 'error'])

async function chooseByPolicy(
  unit: Unit,
  forms: readonly FormName[],
  policy: RankPolicy,
  settings: CandidateSettings,
): Promise<Candidate | string> {
  const variants = unitVariants(unit, forms, settings)
  if (typeof variants === 'string') return policy.kind === 'amct' ? (amctRefusal(unit.leader) ?? variants) : variants
  const suited = COMPARABLE.has(policy.kind) ? variants : preferred(unit, variants, settings)
  const usable = policy.kind === 'fixed' ? suited.filter((variant) => policy.rank <= largestRank([variant])) : suited
  if (policy.kind === 'fixed' && usable.length === 0)
    return `Its full rank is ${largestRank(suited)} for ${suited[0]!.form}; ${policy.rank} was asked for.`
  let best: Candidate | undefined
  let reason = ''
  for (const variant of usable) {
    const ranks = await ranksByPolicy(unit, variant, policy, settings)
    if (typeof ranks === 'string') {
      reason ||= ranks
      continue
    }
    const candidate: Candidate = { ...candidateOf(unit, variant, ranks.ranks), ...ranks }
    if (!isCheaper(unit, candidate)) reason ||= tooExpensive(unit, candidate, policy, settings.align)
    else if (!best || costOf(candidate) < costOf(best)) best = candidate
  }
  if (!best) return reason
  // The expected error is shown where the policy computed the curves anyway.
  if (policy.kind === 'fixed' || policy.kind === 'ratio' || policy.kind === 'amct') return best
  return { ...best, estimatedError: await unit.spectra.estimate(best.variant, best.ranks) }
}

/** One form per layer for policies that do not compare: Tucker-2 for kernels, channel SVD for 1-wide ones, matrix SVD. */
function preferred(unit: Unit, variants: readonly FormVariant[], settings: CandidateSettings): FormVariant[] {
  const form = variants[0]!.form
  const same = variants.filter((variant) => variant.form === form)
  if (form === 'spatial' && settings.variants?.spatial === undefined && unit.leader.kernel.length === 2) {
    const wanted = variantOfMode(amctMode(unit.leader))
    return same.filter((variant) => variant.variant === wanted)
  }
  return same
}

/** The highest rank of any role; roles with less (the inputs of a Tucker-2, say) keep their full rank. */
function largestRank(variants: readonly FormVariant[]): number {
  return Math.max(...variants.flatMap(({ fullRanks }) => Object.values(fullRanks)))
}

/**
 * Throws when a fixed rank is more than any layer has: then it is a mistake, and not just too much for small layers.
 */
function checkFixedRank(
  units: readonly Unit[],
  forms: readonly FormName[],
  rank: number,
  settings: CandidateSettings,
): void {
  let best: { unit: Unit; form: FormName; largest: number } | undefined
  for (const unit of units) {
    const variants = unitVariants(unit, forms, settings)
    if (typeof variants === 'string') continue
    const suited = preferred(unit, variants, settings)
    const largest = largestRank(suited)
    if (largest >= rank) return
    if (!best || largest > best.largest) best = { unit, form: suited[0]!.form, largest }
  }
  if (!best) return
  const { leader } = best.unit
  fail(
    'RANK_OUT_OF_RANGE',
    `${leader.op} '${leader.name}': rank must be 1 to ${best.largest} for ${best.form}; got ${rank}. ` +
      'No layer has more. Give a smaller rank.',
  )
}

function tooExpensive(unit: Unit, candidate: Candidate, policy: RankPolicy, align: number): string {
  const { variant, ranks, parameters } = candidate
  const dearer = dearerSite(unit, candidate)
  const found = dearer
    ? `${dearer.after} MACs instead of ${dearer.before}`
    : `${parameters} parameters instead of ${unitBefore(unit).parameters}`
  const aligned = policy.kind === 'fixed' || policy.kind === 'amct' ? '' : ` (ranks aligned to ${align})`
  return `At rank ${Object.values(ranks).join(' and ')}, ${variant.form} would not be cheaper: ${found}${aligned}.`
}

function stepsOf(unit: Unit, candidate: Candidate, options: LowRankOptions, context: PlanContext): LowRankStep[] {
  const { form, variant, weightOnly, stages: stagesAt } = candidate.variant
  const stages = stagesAt(candidate.ranks)
  return unit.sites.map((site) => {
    const before = siteCost(site)
    const after = chainCost(site, stages)
    const hasData = unit.sites.length === 1 && (context.moments?.has(site.name) ?? false)
    const dataAware = hasData && weightOnly === undefined
    return {
      site: site.name,
      op: site.op,
      form,
      variant,
      ranks: candidate.ranks,
      ...(candidate.rawRanks ? { rawRanks: candidate.rawRanks } : {}),
      ...(candidate.rawIsEstimate ? { rawIsEstimate: true } : {}),
      parameters: { before: before.parameters, after: after.parameters },
      macs: { before: before.macs, after: after.macs },
      estimatedError: candidate.estimatedError ?? null,
      dataAware,
      ...(hasData && weightOnly !== undefined ? { weightOnly } : {}),
      ...(form === 'cp' && options.cpGuard === false ? { unguarded: true as const } : {}),
      ...(dataAware && canShiftBias(site) ? { shiftsBias: true } : {}),
    }
  })
}

async function planBudget(
  sites: readonly Site[],
  units: readonly Unit[],
  options: LowRankOptions,
  budget: Budget,
  settings: CandidateSettings,
  context: PlanContext,
  skips: Skip[],
  warnings: string[],
): Promise<LowRankStep[]> {
  const metric = (cost: { parameters: number; macs: number | null }): number =>
    budget.metric === 'params'
      ? cost.parameters
      : (cost.macs ?? fail('INVALID_ARGUMENT', 'A MAC budget needs the shapes of the network. Give --input-shape.'))
  // A network whose MACs are not all known, those of subgraphs for one, is taken as its layers.
  const { totals } = context
  const known = totals && (budget.metric === 'params' || totals.macs !== null)
  const whole = known ? metric(totals) : wholeCost(sites, metric)
  if (totals && !known)
    warnings.push('The budget is a share of the layers that are known; not all MACs of the network are.')
  const layers: { unit: Unit; options: BudgetOption[] }[] = []
  let fixed = whole
  for (const [done, unit] of units.entries()) {
    checkAborted(context.signal)
    context.onProgress?.({ stage: 'plan', done, total: units.length, item: unit.leader.name })
    const before = unitBefore(unit)
    const found = await budgetOptions(unit, formsOf(options), settings, metric)
    if (typeof found === 'string') for (const site of unit.sites) skips.push({ name: site.name, reason: found })
    else {
      layers.push({ unit, options: [{ cost: metric(before), error: 0, candidate: undefined }, ...found] })
      fixed -= metric(before)
    }
  }
  context.onProgress?.({ stage: 'plan', done: units.length, total: units.length })
  const chosen = allocate(
    layers.map((layer) => layer.options),
    budget.fraction * whole - fixed,
  )
  if (!chosen) {
    const least =
      fixed + layers.reduce((sum, layer) => sum + Math.min(...layer.options.map((option) => option.cost)), 0)
    fail(
      'INVALID_ARGUMENT',
      `Budget ${budget.metric}=${budget.fraction}: the network cannot go below ${(least / whole).toFixed(3)} of its ` +
        `${budget.metric} with these methods and ranks aligned to ${settings.align}. Raise the budget or lower --align.`,
    )
  }
  const steps: LowRankStep[] = []
  layers.forEach(({ unit }, i) => {
    const { candidate } = chosen[i]!
    if (candidate) steps.push(...stepsOf(unit, candidate, options, context))
    else
      for (const site of unit.sites)
        skips.push({ name: site.name, reason: 'The budget is met with less error without it.' })
  })
  return steps
}

interface BudgetOption {
  readonly cost: number
  readonly error: number
  readonly candidate: Candidate | undefined
}

/** Cost of all sites; a shared weight's parameters count once. */
function wholeCost(
  sites: readonly Site[],
  metric: (cost: { parameters: number; macs: number | null }) => number,
): number {
  const seen = new Set<string>()
  return sites.reduce((sum, site) => {
    const cost = siteCost(site)
    const counted = seen.has(site.weightName) ? { ...cost, parameters: 0 } : cost
    seen.add(site.weightName)
    return sum + metric(counted)
  }, 0)
}

async function budgetOptions(
  unit: Unit,
  forms: readonly FormName[],
  settings: CandidateSettings,
  metric: (cost: { parameters: number; macs: number | null }) => number,
): Promise<BudgetOption[] | string> {
  const variants = unitVariants(unit, forms, settings)
  if (typeof variants === 'string') return variants
  const found: BudgetOption[] = []
  for (const variant of variants) {
    // Spectra of a variant that is dearer at its lowest rank are not worth computing.
    const lowest = Object.fromEntries(
      Object.entries(variant.fullRanks).map(([role, full]) => [role, Math.min(full, settings.align)]),
    )
    if (!isCheaper(unit, candidateOf(unit, variant, lowest))) continue
    for (const { ranks, squared } of await rankGrid(unit, variant, settings.align)) {
      const candidate = candidateOf(unit, variant, ranks)
      if (!isCheaper(unit, candidate)) continue
      const estimatedError = Math.sqrt(Math.min(1, squared))
      found.push({ cost: metric(candidate), error: squared, candidate: { ...candidate, estimatedError } })
    }
  }
  return found.length > 0
    ? found
    : `No rank of ${[...new Set(variants.map((variant) => variant.form))].join(', ')} would be cheaper (ranks aligned to ${settings.align}).`
}
