/**
 * High-bias absorption: what a channel always carries moves from the bias of one layer into the bias of the next, so
 * that it does not widen the range of the activations between them.
 *
 * Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.1.3:
 * with pre-activations of mean β and deviation γ per channel, c = max(0, β − 3 |γ|) and Relu(x − c) = Relu(x) − c for
 * almost all x; b₁ ← b₁ − c, b₂ ← b₂ + W₂ c.
 */
import { cloneModel, GraphIndex, intAttribute, type Model } from '../../graph/index.ts'
import { isFloat, toFloat64 } from '../../tensor/index.ts'
import type { Skip } from '../method.ts'
import { findSites, type ObservedShapes, type Site } from '../sites.ts'
import { type ChannelPath, findChannelPaths } from './channel-path.ts'
import { constantResponse } from './channel-view.ts'
import type { EqualizeRecord } from './equalize.ts'
import { biasOf, factorsOf, fitsType, ParameterWriter, type SiteBias } from './parameters.ts'

/** What is known of a layer's outputs before its activation, per output channel. */
export interface ChannelStatistics {
  readonly mean: Float64Array
  /** Standard deviation. */
  readonly deviation: Float64Array
  /** The least value seen on data; where it is known, at most this much is absorbed and nothing changes on these data. */
  readonly least?: Float64Array | undefined
}

/** Options of {@link absorbBiases}. */
export interface AbsorbOptions {
  /** Deviations below the mean that stay; default 3. */
  readonly deviations?: number | undefined
  /**
   * Whether layers that pad with zeros take part; default false. Their border would miss what was absorbed, so that the
   * function changes there.
   */
  readonly padded?: boolean | undefined
}

/** What was absorbed between two layers; JSON. */
export type AbsorbedPair = {
  readonly first: string
  readonly second: string
  /** What each output channel of `first` lost. */
  readonly shifts: readonly number[]
}

/** What {@link absorbBiases} did; JSON. */
export type AbsorbRecord = { readonly pairs: readonly AbsorbedPair[]; readonly skips: readonly Skip[] }

/**
 * Statistics of layers' outputs from the batch normalisations behind them: mean β, deviation |γ|.
 *
 * @param model before its batch normalisations are folded.
 * @returns by name of the layer that each one follows directly.
 */
export function batchNormStatistics(model: Model): Map<string, ChannelStatistics> {
  const index = new GraphIndex(model.graph)
  const statistics = new Map<string, ChannelStatistics>()
  for (const site of findSites(model).sites) {
    const users = index.users(site.node.outputs[0]!)
    const [node] = users
    if (users.length !== 1 || node?.opType !== 'BatchNormalization' || node.domain !== '') continue
    if (intAttribute(node, 'training_mode', 0) !== 0) continue
    const [gamma, beta] = [1, 2].map((slot) => {
      const tensor = index.constant(node.inputs[slot] ?? '')
      return tensor && isFloat(tensor.dtype) && tensor.size === site.outputs ? toFloat64(tensor) : undefined
    })
    if (gamma && beta) statistics.set(site.name, { mean: beta, deviation: gamma.map(Math.abs) })
  }
  return statistics
}

/** Statistics as they are after layers were equalised: the outputs of each pair's first layer divided by its scales. */
export function scaleStatistics(
  statistics: ReadonlyMap<string, ChannelStatistics>,
  record: EqualizeRecord,
): Map<string, ChannelStatistics> {
  const scaled = new Map(statistics)
  for (const { first, scales } of record.pairs) {
    const known = statistics.get(first)
    if (!known) continue
    const divide = (values: Float64Array): Float64Array => values.map((value, i) => value / scales[i]!)
    scaled.set(first, {
      mean: divide(known.mean),
      deviation: divide(known.deviation),
      least: known.least && divide(known.least),
    })
  }
  return scaled
}

/**
 * Absorbs high biases of layers into the next ones.
 *
 * @param statistics of the outputs of layers, by name: from {@link batchNormStatistics}, or measured on data.
 * @returns a clone, and what was absorbed; layers without statistics are not mentioned.
 */
export function absorbBiases(
  model: Model,
  statistics: ReadonlyMap<string, ChannelStatistics>,
  shapes: ObservedShapes = new Map(),
  options: AbsorbOptions = {},
): { model: Model; record: AbsorbRecord } {
  const clone = cloneModel(model)
  const { paths } = findChannelPaths(clone, shapes)
  const writer = new ParameterWriter(clone)
  const pairs: AbsorbedPair[] = []
  const skips: Skip[] = []
  for (const path of paths) {
    const known = statistics.get(path.first.name)
    if (!known) continue
    const shifts = highBiases(known, options.deviations ?? 3)
    if (shifts.every((shift) => shift === 0)) continue
    const reason = absorb(path, shifts, clone, writer, options.padded ?? false)
    if (reason === undefined) pairs.push({ first: path.first.name, second: path.second.name, shifts: [...shifts] })
    else skips.push({ name: path.first.name, reason })
  }
  return { model: clone, record: { pairs, skips } }
}

/** c = max(0, mean − n · deviation), and at most the least value seen. */
function highBiases({ mean, deviation, least }: ChannelStatistics, deviations: number): Float64Array {
  return mean.map((value, channel) => {
    const shift = Math.max(0, value - deviations * Math.abs(deviation[channel]!))
    return least ? Math.max(0, Math.min(shift, least[channel]!)) : shift
  })
}

/** Moves constants over one path. @returns why that is not possible. */
function absorb(
  path: ChannelPath,
  shifts: Float64Array,
  clone: Model,
  writer: ParameterWriter,
  padded: boolean,
): string | undefined {
  const { first, second, repeat } = path
  if (path.shift === 'none') return `What lies before '${second.name}' does not pass a constant on.`
  if (second.kind === 'transposed-convolution') return `'${second.name}' is transposed; its border would differ.`
  if (!padded && pads(second)) return `'${second.name}' pads with zeros, which would miss what is absorbed.`
  // Biases are read anew for every path: the one before may have changed them.
  const index = new GraphIndex(clone.graph)
  const [target, source] = [biasOf(second, index), biasOf(first, index)]
  if (typeof target === 'string') return `'${second.name}': ${target}`
  if (typeof source === 'string') return source
  const features = Float64Array.from({ length: second.inputs }, (_, i) => shifts[Math.floor(i / repeat)]!)
  const response = constantResponse(second, features)
  const { product, bias } = factorsOf(second)
  const lowered = current(source, writer).map((value, i) => value - shifts[i]! / factorsOf(first).bias)
  const raised = current(target, writer).map((value, i) => value + (product * response[i]!) / bias)
  if (!fitsType(lowered, first.weight.dtype) || !fitsType(raised, second.weight.dtype))
    return `Its biases would leave the range of ${first.weight.dtype}.`
  writer.writeBias(first, source, lowered)
  writer.writeBias(second, target, raised)
  return undefined
}

/** The numbers of a bias as they are now. */
function current(bias: SiteBias, writer: ParameterWriter): Float64Array {
  const tensor = writer.read(bias.node, bias.slot)
  return tensor && tensor.size === bias.values.length ? toFloat64(tensor) : bias.values
}

/** Whether zeros around its input reach a layer. */
function pads({ kernel, pads: amounts, autoPad }: Site): boolean {
  if (autoPad.startsWith('SAME')) return kernel.some((extent) => extent > 1)
  return autoPad !== 'VALID' && amounts.some((pad) => pad !== 0)
}
