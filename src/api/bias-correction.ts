/** Empirical bias correction: runs the float and the quantized network on data and takes back what shifted. */
import {
  type BiasCorrectionRecord,
  type CorrectedBias,
  correctBiases,
  findSites,
  type Site,
} from '../compress/index.ts'
import { checkAborted, fail, type TaskOptions } from '../core/index.ts'
import type { Model, TensorMap } from '../graph/index.ts'
import { type ChannelRequest, collectChannelStatistics, type MeasuredChannels } from './channel-statistics.ts'
import type { Runtime } from './runtime.ts'

/** Options of {@link correctBiasesOnData}. */
export interface BiasCorrectionOptions extends TaskOptions {
  /** Samples to look at; default 256. Means settle quickly. */
  readonly samples?: number | undefined
  /**
   * `'sequential'` (default): layer by layer in the network's order, each with the corrected layers before it; layers
   * that do not depend on each other at once. `'once'`: all layers from one pass, which corrects a shift again in
   * every layer it runs through.
   */
  readonly order?: 'sequential' | 'once' | undefined
  /** Names of the layers to correct; default: all with a weight that `quantized` changed. */
  readonly layers?: ReadonlySet<string> | undefined
}

/**
 * Corrects the biases of a float model for what its quantization does to the means of layers' outputs.
 *
 * @param quantized makes the quantized network, or its fake-quantized view, of a float model with other biases; nodes
 *   keep their names.
 * @param data feeds of the model in batches; called once per pass.
 * @returns the float model with corrected biases, to be quantized again the same way, and the shifts per layer.
 * @throws WhittleError `INVALID_DATA` without a batch; `ENGINE`; `ABORTED`.
 */
export async function correctBiasesOnData(
  model: Model,
  quantized: (model: Model) => Model,
  data: () => AsyncIterable<TensorMap>,
  runtime: Pick<Runtime, 'evaluator'>,
  options: BiasCorrectionOptions = {},
): Promise<{ model: Model; record: BiasCorrectionRecord }> {
  const { samples = 256, order = 'sequential', layers, signal, onProgress } = options
  if (!(samples >= 1)) fail('INVALID_ARGUMENT', `Bias correction: samples must be at least 1; got ${samples}.`)
  const all = findSites(model).sites.filter((site) => layers?.has(site.name) ?? true)
  // A bias that cannot be corrected is found out by shifting it by nothing.
  const nothing = new Map(all.map((site) => [site.name, new Float64Array(site.outputs)]))
  const { skips } = correctBiases(model, nothing).record
  const sites = all.filter((site) => !skips.some(({ name }) => name === site.name))
  const measure = (subject: Model, some: readonly Site[]): Promise<Map<string, MeasuredChannels>> =>
    collectChannelStatistics(runtime.evaluator, subject, requestsOf(subject, some), data, {
      samples,
      meansOnly: true,
      signal,
    })
  const expected = await measure(model, sites)
  const stages = order === 'once' ? [sites] : independentStages(model, sites)
  let corrected = model
  let done = 0
  const shifted: CorrectedBias[] = []
  for (const stage of stages) {
    checkAborted(signal)
    const found = await measure(quantized(corrected), stage)
    const shifts = new Map(stage.map(({ name }) => [name, difference(expected.get(name)!.mean, found.get(name)!.mean)]))
    const result = correctBiases(corrected, shifts)
    corrected = result.model
    shifted.push(...result.record.layers)
    done += stage.length
    onProgress?.({ stage: 'bias correction', done, total: sites.length })
  }
  return { model: corrected, record: { layers: shifted, skips } }
}

function difference(expected: Float64Array, found: Float64Array): Float64Array {
  return expected.map((value, i) => value - found[i]!)
}

/** Asks for the outputs of layers, which may have other names in the quantized model. */
function requestsOf(model: Model, sites: readonly Site[]): ChannelRequest[] {
  const nodes = new Map(model.graph.nodes.map((node) => [node.name, node]))
  return sites.map(({ name, outputs, kind, kernel }) => {
    const node = nodes.get(name)
    if (!node) fail('PLAN_MISMATCH', `Bias correction: the quantized model has no node '${name}'. Keep nodes' names.`)
    return {
      key: name,
      value: node.outputs[0]!,
      channels: outputs,
      layout: kind === 'linear' ? 'last' : { axes: kernel.length + 2 },
    }
  })
}

/** Layers in groups: each depends on earlier groups only. */
function independentStages(model: Model, sites: readonly Site[]): Site[][] {
  const byNode = new Map(sites.map((site) => [site.name, site]))
  const depths = new Map<string, number>()
  const stages: Site[][] = []
  for (const node of model.graph.nodes) {
    const before = Math.max(0, ...node.inputs.map((name) => depths.get(name) ?? 0))
    const site = byNode.get(node.name)
    if (site) {
      while (stages.length <= before) stages.push([])
      stages[before]!.push(site)
    }
    for (const output of node.outputs) depths.set(output, before + (site ? 1 : 0))
  }
  return stages
}
