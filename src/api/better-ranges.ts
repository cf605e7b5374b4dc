/** What is done to a float model before it is quantized, so that its ranges are kinder: its function stays the same. */
import {
  type AbsorbRecord,
  absorbBiases,
  type BalanceRecord,
  balanceModel,
  type ChannelStatistics,
  type EqualizeOptions,
  type EqualizeRecord,
  equalize,
  findSites,
  type ObservedShapes,
  preActivationOf,
  type QuantizeImprovements,
  type Range,
  type Site,
  scaleStatistics,
} from '../compress/index.ts'
import { fail, type TaskOptions } from '../core/index.ts'
import { GraphIndex, type Model, type TensorMap } from '../graph/index.ts'
import { type ChannelRequest, collectChannelStatistics } from './channel-statistics.ts'
import type { Runtime } from './runtime.ts'

/** Options of {@link improveRanges}; all are off by default. */
export interface RangeOptions {
  /** Cross-layer equalisation; an object sets its options. */
  readonly equalize?: boolean | Pick<EqualizeOptions, 'relu6' | 'limit' | 'iterations' | 'tolerance'> | undefined
  /**
   * High-bias absorption. `'batch-norm'`: by the parameters of the batch normalisations that were folded; `'data'`: by
   * the mean, deviation and least value on data, so that nothing changes on these. `true`: data when there are some.
   */
  readonly absorbBiases?: boolean | 'batch-norm' | 'data' | undefined
  /** Balancing of activations and weights (SmoothQuant, DMQ); a number is the migration strength, `true` 0.5. */
  readonly balance?: boolean | number | undefined
  /** Strengths of single layers; with it only these are balanced. */
  readonly balanceLayers?: ReadonlyMap<string, number> | undefined
}

/** What {@link improveRanges} did; parts that were not asked for are absent. JSON. */
export type RangeRecord = Omit<QuantizeImprovements, 'corrected'>

/** What {@link improveRanges} needs besides model and options. */
export interface RangeContext extends TaskOptions {
  readonly shapes: ObservedShapes
  /** Feeds of the model in batches; called once per pass. */
  readonly data?: (() => AsyncIterable<TensorMap>) | undefined
  /** What `batchNormStatistics` found before batch normalisations were folded. */
  readonly batchNorms?: ReadonlyMap<string, ChannelStatistics> | undefined
}

/**
 * Equalises layers, absorbs high biases and balances activations, in this order.
 *
 * @param model prepared, with batch normalisations folded.
 * @throws WhittleError `INVALID_ARGUMENT` when data or batch normalisations are asked for that are not there.
 */
export async function improveRanges(
  model: Model,
  options: RangeOptions,
  context: RangeContext,
  runtime: Pick<Runtime, 'evaluator'>,
): Promise<{ model: Model; record: RangeRecord }> {
  let current = model
  let equalized: EqualizeRecord | undefined
  if (options.equalize) {
    const settings = options.equalize === true ? {} : options.equalize
    const ranges = settings.relu6 === 'replace' ? undefined : await clipRanges(current, context, runtime)
    const result = equalize(current, context.shapes, { ...settings, ranges, ...taskOf(context) })
    current = result.model
    equalized = result.record
  }
  let absorbed: AbsorbRecord | undefined
  if (options.absorbBiases) {
    const statistics = await absorbable(current, options.absorbBiases, equalized, context, runtime)
    const result = absorbBiases(current, statistics, context.shapes)
    current = result.model
    absorbed = result.record
  }
  let balanced: BalanceRecord | undefined
  if ((options.balance ?? false) !== false || options.balanceLayers) {
    const result = await balance(current, options, context, runtime)
    current = result.model
    balanced = result.record
  }
  const record = { ...(equalized && { equalized }), ...(absorbed && { absorbed }), ...(balanced && { balanced }) }
  return { model: current, record }
}

/** A Gemm with transA reads its channels along axis 0. */
function hasChannelsWhereExpected({ kind, inputShape, inputs }: Site): boolean {
  return kind !== 'linear' || inputShape === undefined || inputShape[inputShape.length - 1] === inputs
}

function taskOf({ signal, onProgress }: TaskOptions): TaskOptions {
  return { signal, onProgress }
}

function channelRequest(site: Site, value: string, channels: number): ChannelRequest {
  const layout = site.kind === 'linear' ? 'last' : { axes: site.kernel.length + 2 }
  return { key: site.name, value, channels, layout }
}

/** Ranges of what goes into Clips, which tell whether their upper bounds are ever reached. */
async function clipRanges(
  model: Model,
  context: RangeContext,
  { evaluator }: Pick<Runtime, 'evaluator'>,
): Promise<ReadonlyMap<string, Range> | undefined> {
  const sites = new Map(findSites(model, context.shapes).sites.map((site) => [site.node.outputs[0]!, site]))
  const requests = model.graph.nodes.flatMap((node) => {
    const site = node.opType === 'Clip' ? sites.get(node.inputs[0]!) : undefined
    return site ? [channelRequest(site, node.inputs[0]!, site.outputs)] : []
  })
  if (requests.length === 0 || !context.data) return undefined
  const measured = await collectChannelStatistics(evaluator, model, requests, context.data, taskOf(context))
  return new Map(
    requests.map(({ key, value }) => {
      const { least, most } = measured.get(key)!
      return [value, { min: least.reduce((a, b) => Math.min(a, b)), max: most.reduce((a, b) => Math.max(a, b)) }]
    }),
  )
}

async function absorbable(
  model: Model,
  from: true | 'batch-norm' | 'data',
  equalized: EqualizeRecord | undefined,
  context: RangeContext,
  { evaluator }: Pick<Runtime, 'evaluator'>,
): Promise<ReadonlyMap<string, ChannelStatistics>> {
  const source = from === true ? (context.data ? 'data' : 'batch-norm') : from
  if (source === 'batch-norm') {
    if (!context.batchNorms)
      fail(
        'INVALID_ARGUMENT',
        'Absorbing biases by batch normalisation: the model has none that was folded. Give data.',
      )
    return equalized ? scaleStatistics(context.batchNorms, equalized) : context.batchNorms
  }
  if (!context.data) fail('INVALID_ARGUMENT', "Absorbing biases by data needs data. Give some, or choose 'batch-norm'.")
  const index = new GraphIndex(model.graph)
  const requests = findSites(model, context.shapes).sites.map((site) =>
    channelRequest(site, preActivationOf(site, index), site.outputs),
  )
  return collectChannelStatistics(evaluator, model, requests, context.data, taskOf(context))
}

async function balance(
  model: Model,
  options: RangeOptions,
  context: RangeContext,
  { evaluator }: Pick<Runtime, 'evaluator'>,
): Promise<ReturnType<typeof balanceModel>> {
  if (!context.data) fail('INVALID_ARGUMENT', 'Balancing needs data, for the ranges of activations. Give some.')
  const strengths = options.balanceLayers
  const { sites } = findSites(model, context.shapes)
  const wanted = sites.filter((site) => (strengths?.has(site.name) ?? true) && hasChannelsWhereExpected(site))
  const requests = wanted.map((site) => channelRequest(site, site.node.inputs[0]!, site.inputs))
  const measured = await collectChannelStatistics(evaluator, model, requests, context.data, taskOf(context))
  const activations = new Map(
    [...measured].map(([name, { least, most }]) => [
      name,
      most.map((x, i) => Math.max(Math.abs(x), Math.abs(least[i]!))),
    ]),
  )
  const strength = typeof options.balance === 'number' ? options.balance : undefined
  return balanceModel(model, activations, context.shapes, { strength, strengths })
}
