/** Applying a plan: computes the factors and edits a clone. Decides nothing. */
import { checkAborted, fail, type TaskOptions } from '../../core/index.ts'
import type { MatrixEngine } from '../../decompose/index.ts'
import { cloneModel, type Model, NameGenerator } from '../../graph/index.ts'
import { assertPlanFits } from '../check-plan.ts'
import { findSites, type Site } from '../sites.ts'
import { fitGroup } from './data-aware.ts'
import { factorGroup } from './factor.ts'
import { FORM_NAMES, variantsOf } from './forms.ts'
import { groupKernels, type Reals, stageTensor } from './kernel.ts'
import type { SiteMoments } from './moments.ts'
import { dropUnusedInitializers, replaceSite, stageWeightName, type WeightedStage } from './replace.ts'
import type { FormVariant, Stage } from './stage.ts'
import { LOW_RANK_PLAN_VERSION, type LowRankPlan, type LowRankStep } from './step.ts'

/** What applying needs besides the plan. */
export interface ApplyContext extends TaskOptions {
  readonly matrices: MatrixEngine
  /** Needed for steps that are data-aware. */
  readonly moments?: ReadonlyMap<string, SiteMoments> | undefined
}

/** What became of one step. */
export interface StepOutcome {
  readonly step: LowRankStep
  /** ‖W − Ŵ‖ / ‖W‖. */
  readonly relativeError: number
  /** Relative error of the layer's output on the calibration data. */
  readonly outputError: number | undefined
  /** Names and shapes of the new weights, by role. */
  readonly weights: readonly { readonly role: string; readonly name: string; readonly shape: readonly number[] }[]
  /** Name of the bias that took up what the factors lose in the mean, if one did. */
  readonly fittedBias: string | undefined
}

/** A model with a plan applied to it. */
export interface Applied {
  readonly model: Model
  readonly outcomes: readonly StepOutcome[]
}

/**
 * Applies a plan.
 *
 * @throws WhittleError `PLAN_MISMATCH` when the plan was made for another model or by another method or version, names
 *   layers that are not there or one twice; `RANK_OUT_OF_RANGE`; `INVALID_ARGUMENT` when it needs data; `NOT_FINITE`;
 *   `ABORTED`.
 */
export async function applyLowRank(model: Model, plan: LowRankPlan, context: ApplyContext): Promise<Applied> {
  assertPlanFits(
    model,
    plan,
    { method: 'low-rank', version: LOW_RANK_PLAN_VERSION },
    plan.steps.map(({ site }) => site),
  )
  const result = cloneModel(model)
  const names = new NameGenerator(result.graph)
  const sites = new Map(findSites(result).sites.map((site) => [site.name, site]))
  const chains = new Map<string, Chain>()
  const outcomes: StepOutcome[] = []
  for (const [done, step] of plan.steps.entries()) {
    checkAborted(context.signal)
    context.onProgress?.({ stage: 'decompose', done, total: plan.steps.length, item: step.site })
    const site =
      sites.get(step.site) ??
      fail('PLAN_MISMATCH', `The plan names layer '${step.site}', which the model does not have.`)
    const variant = variantOf(site, step)
    // Sites that share a weight and are planned alike keep sharing.
    const key = JSON.stringify([
      site.weightName,
      site.op,
      site.group,
      site.weightIsOutputFirst,
      variant.form,
      ranksOf(step, variant),
      step.unguarded ?? false,
    ])
    let chain = chains.get(key)
    if (!chain) {
      chain = await makeChain(site, variant, step, plan.seed, context, names)
      if (!step.dataAware && !step.shiftsBias) chains.set(key, chain)
    }
    const fittedBias = replaceSite(result, site, chain.stages, names, chain.biasShift)
    outcomes.push({
      step,
      relativeError: chain.relativeError,
      outputError: chain.outputError,
      weights: chain.stages.map(({ stage, name, weight }) => ({ role: stage.role, name, shape: weight.shape })),
      fittedBias,
    })
  }
  context.onProgress?.({ stage: 'decompose', done: plan.steps.length, total: plan.steps.length })
  const replaced = plan.steps.map((step) => sites.get(step.site)!)
  dropUnusedInitializers(
    result.graph,
    replaced.flatMap((site) => [site.weightName, site.biasName ?? site.weightName]),
  )
  return { model: result, outcomes }
}

function ranksOf(step: LowRankStep, variant: FormVariant): readonly unknown[] {
  return [variant.variant, ...Object.keys(variant.fullRanks).map((role) => step.ranks[role])]
}

/** The variant a step names, with its ranks checked. */
export function variantOf(site: Site, step: Pick<LowRankStep, 'form' | 'variant' | 'ranks'>): FormVariant {
  if (!FORM_NAMES.includes(step.form))
    fail(
      'PLAN_MISMATCH',
      `${site.op} '${site.name}': form must be one of ${FORM_NAMES.join(', ')}; the plan says '${step.form}'.`,
    )
  const variants = variantsOf(step.form, site)
  if (typeof variants === 'string') fail('PLAN_MISMATCH', `${site.op} '${site.name}': ${variants}`)
  const variant = variants.find((candidate) => candidate.variant === step.variant)
  if (!variant)
    fail('PLAN_MISMATCH', `${site.op} '${site.name}': form ${step.form} has no variant '${step.variant}' here.`)
  for (const [role, full] of Object.entries(variant.fullRanks)) {
    const rank = step.ranks[role]
    if (rank === undefined || !Number.isInteger(rank) || rank < 1 || rank > full)
      fail(
        'RANK_OUT_OF_RANGE',
        `${site.op} '${site.name}': rank '${role}' must be 1 to ${full}; the plan says ${rank}.`,
      )
  }
  checkFit(site, variant, step.ranks)
  return variant
}

/** Throws when a rank is more than the others leave room for. */
function checkFit(site: Site, variant: FormVariant, ranks: LowRankStep['ranks']): void {
  for (const [role, most] of Object.entries(variant.fit?.(ranks) ?? {}))
    if (ranks[role]! > most)
      fail(
        'RANK_OUT_OF_RANGE',
        `${site.op} '${site.name}': rank '${role}' must be 1 to ${most} next to the other ranks; the plan says ${ranks[role]}.`,
      )
}

interface Chain {
  readonly stages: readonly WeightedStage[]
  readonly relativeError: number
  readonly outputError: number | undefined
  readonly biasShift: Float64Array | undefined
}

async function makeChain(
  site: Site,
  variant: FormVariant,
  step: LowRankStep,
  seed: number,
  context: ApplyContext,
  names: NameGenerator,
): Promise<Chain> {
  const stages = variant.stages(step.ranks)
  const moments = step.dataAware ? context.moments?.get(site.name) : undefined
  if (step.dataAware && !moments)
    fail('INVALID_ARGUMENT', `${site.op} '${site.name}': the plan fits this layer to data, but no data were given.`)
  if (step.sequential && !moments?.groups.every((group) => group.target))
    fail(
      'INVALID_ARGUMENT',
      `${site.op} '${site.name}': the plan fits this layer in sequence, which needs moments of the compressed network's input. Use 'decompose'.`,
    )
  const parts: Readonly<Record<string, Reals>>[] = []
  let error = 0
  let norm = 0
  let outputError = 0
  let outputNorm = 0
  const options = { seed, signal: context.signal, guard: !step.unguarded }
  const shift = step.shiftsBias ? new Float64Array(site.outputs) : undefined
  for (const [group, kernel] of groupKernels(site).entries()) {
    if (moments) {
      const own = moments.groups[group]!
      const fitted = await fitGroup(context.matrices, kernel, site, variant, step.ranks, own, options)
      parts.push(fitted.stages)
      error += fitted.squaredError
      norm += fitted.squaredNorm
      outputError += fitted.outputSquaredError
      outputNorm += fitted.outputSquaredNorm
      shift?.set(fitted.biasShift, group * kernel.outputs)
    } else {
      const factors = await factorGroup(context.matrices, kernel, site, variant, step.ranks, {
        ...options,
        energy: kernel.energy,
      })
      parts.push(factors.stages)
      error += factors.squaredError
      norm += factors.squaredNorm
    }
  }
  return {
    stages: stages.map((stage) => weighted(site, stage, parts, names)),
    relativeError: ratio(error, norm),
    outputError: moments ? ratio(outputError, outputNorm) : undefined,
    biasShift: shift,
  }
}

function weighted(
  site: Site,
  stage: Stage,
  parts: readonly Readonly<Record<string, Reals>>[],
  names: NameGenerator,
): WeightedStage {
  const weight = stageTensor(
    site,
    stage,
    parts.map((part) => part[stage.role]!),
    site.weight.dtype,
  )
  return { stage, name: names.fresh(stageWeightName(site.weightName, stage.role)), weight }
}

function ratio(squaredError: number, squaredNorm: number): number {
  return squaredNorm > 0 ? Math.sqrt(Math.max(0, squaredError) / squaredNorm) : 0
}
