/** Fitting layer after layer, each to the original output from the input that the compressed layers before it deliver. */
import {
  type Applied,
  applyLowRank,
  findSites,
  type LowRankPlan,
  momentRequest,
  type Site,
  type SiteMoments,
  type StepOutcome,
  sequentialMoments,
} from '../compress/index.ts'
import { checkAborted, fail, type TaskOptions } from '../core/index.ts'
import { collectMoments } from '../engine/index.ts'
import { cloneModel, createNode, type Model, mergeModels, modelHash, type TensorMap } from '../graph/index.ts'
import type { Runtime } from './runtime.ts'

/** What fitting in sequence needs. */
export interface SequentialContext extends TaskOptions {
  readonly data: () => AsyncIterable<TensorMap>
  readonly shapes: ReadonlyMap<string, { readonly shape: readonly number[] }>
  /** Moments of the original network, for layers that cannot be fitted in sequence. */
  readonly moments: ReadonlyMap<string, SiteMoments>
}

/** Applies a plan step by step, in the order of the graph; one pass over the data per layer. */
export async function applySequentially(
  model: Model,
  plan: LowRankPlan,
  context: SequentialContext,
  runtime: Runtime,
): Promise<Applied> {
  const { signal, onProgress } = context
  const sites = new Map(findSites(model, context.shapes).sites.map((site) => [site.name, site]))
  const shared = countWeights(plan, sites)
  let current = model
  const outcomes: StepOutcome[] = []
  for (const [done, step] of plan.steps.entries()) {
    checkAborted(signal)
    onProgress?.({ stage: 'fit', done, total: plan.steps.length, item: step.site })
    const site = sites.get(step.site)!
    if ((shared.get(site.weightName) ?? 0) > 1) continue
    const moments = step.sequential
      ? new Map([[site.name, await jointMoments(model, current, site, context, runtime)]])
      : context.moments
    const single = { ...plan, steps: [step], model: modelHash(current) }
    const applied = await applyLowRank(current, single, { matrices: runtime.matrices, moments, signal })
    current = applied.model
    outcomes.push(...applied.outcomes)
  }
  // Layers that share a weight keep sharing it only when they are replaced together.
  const rest = plan.steps.filter((step) => (shared.get(sites.get(step.site)!.weightName) ?? 0) > 1)
  if (rest.length > 0) {
    const together = { ...plan, steps: rest, model: modelHash(current) }
    const applied = await applyLowRank(current, together, {
      matrices: runtime.matrices,
      moments: context.moments,
      signal,
    })
    current = applied.model
    outcomes.push(...applied.outcomes)
  }
  onProgress?.({ stage: 'fit', done: plan.steps.length, total: plan.steps.length })
  // Steps come back as they were planned, also those that were left for the end.
  const bySite = new Map(outcomes.map((outcome) => [outcome.step.site, outcome]))
  return { model: current, outcomes: plan.steps.map((step) => bySite.get(step.site)!) }
}

function countWeights(plan: LowRankPlan, sites: ReadonlyMap<string, Site>): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { site } of plan.steps) {
    const { weightName } = sites.get(site)!
    counts.set(weightName, (counts.get(weightName) ?? 0) + 1)
  }
  return counts
}

const PREFIX = 'compressed/'

/** Moments of the layer's input in both networks together. */
async function jointMoments(
  original: Model,
  current: Model,
  site: Site,
  context: SequentialContext,
  runtime: Runtime,
): Promise<SiteMoments> {
  const request = momentRequest(site)
  if (typeof request === 'string') return fail('INTERNAL', `Internal: '${site.name}' cannot be fitted: ${request}`)
  const merged = mergeModels(original, current, PREFIX)
  const inputs = new Set(original.graph.inputs.map((input) => input.name))
  const changed = inputs.has(request.value) ? request.value : `${PREFIX}${request.value}`
  const joined = `${PREFIX}joined`
  const probe = cloneModel(merged)
  const axis = site.kind === 'linear' ? site.inputShape!.length - 1 : 1
  probe.graph.nodes.push(createNode('Concat', [request.value, changed], [joined], { axis }, joined))
  probe.graph.outputs = [{ name: joined, type: undefined }]
  const collected = await collectMoments(runtime.evaluator, probe, [{ ...request, value: joined }], context.data, {
    signal: context.signal,
  })
  const { gram, mean, count } = collected.get(site.name)!
  const second = gram[0]!.map((value) => value / count)
  return sequentialMoments(runtime.matrices, site, { second, mean: mean[0]! }, count)
}
