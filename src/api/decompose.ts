/** Low-rank decomposition of a whole model: prepare, observe, collect moments, plan, apply, record. */
import {
  applyLowRank,
  type CompressionRecord,
  type DecomposeInfo,
  decomposeInfo,
  findSites,
  type LowRankOptions,
  type LowRankPlan,
  momentRequest,
  type ObservedShapes,
  planLowRank,
  recordLowRank,
  type SiteMomentRequest,
  type SiteMoments,
  type Skip,
  siteMoments,
} from '../compress/index.ts'
import { fail, matchesAny, type TaskOptions, VERSION } from '../core/index.ts'
import { collectMoments, observeShapes } from '../engine/index.ts'
import { type Model, modelCost, type TensorMap } from '../graph/index.ts'
import { prepareModel } from './prepare.ts'
import type { Runtime } from './runtime.ts'
import { applySequentially } from './sequential.ts'

/** Options of {@link decompose}. */
export interface DecomposeOptions extends LowRankOptions, TaskOptions {
  /** Shapes of inputs that the model leaves open; an open first axis counts as the batch and needs none. */
  readonly inputShapes?: Readonly<Record<string, readonly number[]>> | undefined
  /**
   * Model inputs, in batches, to fit factors to the layers' outputs instead of their weights. Called once per pass over
   * the data; memory does not depend on the number of batches.
   */
  readonly data?: (() => AsyncIterable<TensorMap>) | undefined
  /** Bound on the memory for moments, in bytes; default 1 GiB. Layers beyond it are fitted to their weight. */
  readonly momentBytes?: number | undefined
  /** What {@link collectSiteMoments} returned for the same model, so that `data` is not passed over for them. */
  readonly moments?: CollectedMoments | undefined
}

/** Moments of the inputs of a model's layers, for any number of decompositions of that model. */
export interface CollectedMoments {
  readonly sites: ReadonlyMap<string, SiteMoments>
  /** Layers that will be fitted to their weight, and why. */
  readonly skips: readonly Skip[]
}

/** What {@link decompose} returns. */
export interface Decomposed {
  readonly model: Model
  readonly record: CompressionRecord
  readonly plan: LowRankPlan
  /** Content of `decompose_info.json`. */
  readonly info: DecomposeInfo
}

/**
 * Decomposes the convolutions and linear layers of a model.
 *
 * @throws WhittleError `INVALID_ARGUMENT` for open input shapes, patterns that match nothing, budgets out of reach;
 *   `NOT_FINITE` for weights with NaN; `RANK_OUT_OF_RANGE`; `INVALID_MODEL`; `ENGINE`; `ABORTED`.
 */
export async function decompose(model: Model, options: DecomposeOptions, runtime: Runtime): Promise<Decomposed> {
  const { inputShapes, signal, onProgress } = options
  if (options.sequential && !options.data)
    fail('INVALID_ARGUMENT', 'Fitting in sequence needs data. Give some, or leave the option out.')
  const prepared = await prepareModel(model, runtime, options)
  const shapes = await observeShapes(runtime.evaluator, prepared, { inputShapes, signal })
  const before = modelCost(prepared, shapes)
  const collected =
    options.moments ??
    (options.data && (await gatherMoments(prepared, options.data, options, runtime, shapes, isSelected(options))))
  const moments = collected?.sites
  const context = { matrices: runtime.matrices, shapes, moments, totals: before, signal, onProgress }
  const planned = await planLowRank(prepared, options, context)
  const plan = { ...planned, warnings: [...planned.warnings, ...(collected ? notFitted(planned, collected) : [])] }
  const applied =
    options.sequential && options.data && moments
      ? await applySequentially(prepared, plan, { ...context, moments, data: options.data }, runtime)
      : await applyLowRank(prepared, plan, context)
  const after = modelCost(applied.model, await observeShapes(runtime.evaluator, applied.model, { inputShapes, signal }))
  const sites = new Map(findSites(prepared, shapes).sites.map((site) => [site.name, site]))
  return {
    model: applied.model,
    plan,
    record: recordLowRank(VERSION, plan, applied, before, after),
    info: decomposeInfo(sites, applied.outcomes),
  }
}

/** Whether a layer's name is among those that will be planned. */
function isSelected({ only = [], skip = [] }: LowRankOptions): (name: string) => boolean {
  return (name) => (only.length === 0 || matchesAny(name, only)) && !matchesAny(name, skip)
}

/** A warning for every decomposed layer that is not fitted to the data although there are some. */
function notFitted(plan: LowRankPlan, { skips }: CollectedMoments): string[] {
  const reasons = new Map(skips.map(({ name, reason }) => [name, reason]))
  return plan.steps
    .filter((step) => !step.dataAware)
    .map(
      ({ site, weightOnly }) =>
        `Fitted to the weight, not to data: '${site}': ${weightOnly ?? reasons.get(site) ?? 'It shares its weight with other layers.'}`,
    )
}

/**
 * Collects the moments of the inputs of all layers in one streaming pass, or in several when memory asks for it.
 *
 * @throws WhittleError `INVALID_DATA` when there is no batch; otherwise as {@link decompose}.
 */
export async function collectSiteMoments(
  model: Model,
  data: () => AsyncIterable<TensorMap>,
  options: Pick<DecomposeOptions, 'inputShapes' | 'momentBytes' | keyof TaskOptions>,
  runtime: Runtime,
): Promise<CollectedMoments> {
  const prepared = await prepareModel(model, runtime, options)
  const { inputShapes, signal } = options
  const shapes = await observeShapes(runtime.evaluator, prepared, { inputShapes, signal })
  return gatherMoments(prepared, data, options, runtime, shapes)
}

async function gatherMoments(
  model: Model,
  data: () => AsyncIterable<TensorMap>,
  options: Pick<DecomposeOptions, 'momentBytes' | keyof TaskOptions>,
  runtime: Runtime,
  shapes: ObservedShapes,
  wanted: (name: string) => boolean = () => true,
): Promise<CollectedMoments> {
  const sites = findSites(model, shapes).sites.filter((site) => wanted(site.name))
  const limit = options.momentBytes ?? 2 ** 30
  const requests: SiteMomentRequest[] = []
  const skips: Skip[] = []
  let bytes = 0
  for (const site of sites) {
    const request = momentRequest(site)
    if (typeof request === 'string') skips.push({ name: site.name, reason: request })
    else if (bytes + request.group * request.size ** 2 * 8 > limit)
      skips.push({
        name: site.name,
        reason: `Its moments (${request.size}×${request.size}) exceed the memory for them.`,
      })
    else {
      bytes += request.group * request.size ** 2 * 8
      requests.push(request)
    }
  }
  const collected = await collectMoments(runtime.evaluator, model, requests, data, { ...options, memoryBytes: limit })
  const moments = new Map<string, SiteMoments>()
  for (const site of sites) {
    const found = collected.get(site.name)
    if (!found) continue
    const groups = found.gram.map((sum, group) => ({
      second: sum.map((value) => value / found.count),
      mean: found.mean[group]!,
    }))
    moments.set(site.name, siteMoments(site, groups, found.count))
  }
  return { sites: moments, skips }
}
