/**
 * Bias correction: rounding weights and activations moves the mean of what layers compute; the biases take it back.
 *
 * Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2:
 * b ← b + E[y] − E[ŷ] per output channel, y the output in float and ŷ the quantized one. What runs models is in
 * `api/`; here the means become biases.
 */
import { fail } from '../../core/index.ts'
import { cloneModel, GraphIndex, type Model } from '../../graph/index.ts'
import { type Tensor, toFloat64 } from '../../tensor/index.ts'
import type { Skip } from '../method.ts'
import { findSites, type Site } from '../sites.ts'
import { constantResponse } from './channel-view.ts'
import { biasOf, factorsOf, fitsType, ParameterWriter } from './parameters.ts'

/** A layer's correction; JSON. */
export type CorrectedBias = {
  readonly name: string
  /** What was added to the output of each channel. */
  readonly shifts: readonly number[]
}

/** What {@link correctBiases} did; JSON. */
export type BiasCorrectionRecord = { readonly layers: readonly CorrectedBias[]; readonly skips: readonly Skip[] }

/**
 * Adds a shift per output channel to the biases of layers; layers without a bias get one.
 *
 * @param shifts E[float output] − E[quantized output] by layer, one number per channel.
 * @returns a clone with float biases, and what was added; a MatMul without an Add after it is left alone.
 * @throws WhittleError `NOT_FOUND` for an unknown layer, `SHAPE_MISMATCH`, `NOT_FINITE`.
 */
export function correctBiases(
  model: Model,
  shifts: ReadonlyMap<string, Float64Array>,
): { model: Model; record: BiasCorrectionRecord } {
  const clone = cloneModel(model)
  const index = new GraphIndex(clone.graph)
  const sites = new Map(findSites(clone).sites.map((site) => [site.name, site]))
  const writer = new ParameterWriter(clone)
  const layers: CorrectedBias[] = []
  const skips: Skip[] = []
  for (const [name, values] of shifts) {
    const site = sites.get(name)
    if (!site) fail('NOT_FOUND', `Bias correction: '${name}' is no layer with a weight.`)
    checkShifts(site, values)
    const bias = biasOf(site, index)
    const reason = typeof bias === 'string' ? bias : write(site, bias, values, writer)
    if (reason === undefined) layers.push({ name, shifts: [...values] })
    else skips.push({ name, reason })
  }
  return { model: clone, record: { layers, skips } }
}

type SiteBiasOf = Exclude<ReturnType<typeof biasOf>, string>

function write(site: Site, bias: SiteBiasOf, values: Float64Array, writer: ParameterWriter): string | undefined {
  const factor = factorsOf(site).bias
  if (factor === 0) return 'Its bias is multiplied with 0.'
  const corrected = bias.values.map((value, i) => value + values[i]! / factor)
  if (!fitsType(corrected, site.weight.dtype)) return `Its bias would leave the range of ${site.weight.dtype}.`
  if (values.some((value) => value !== 0)) writer.writeBias(site, bias, corrected)
  return undefined
}

function checkShifts(site: Site, values: Float64Array): void {
  if (values.length !== site.outputs)
    fail(
      'SHAPE_MISMATCH',
      `Bias correction of '${site.name}': ${site.outputs} channels need as many shifts; got ${values.length}.`,
    )
  const wrong = values.findIndex((value) => !Number.isFinite(value))
  if (wrong >= 0)
    fail('NOT_FINITE', `Bias correction of '${site.name}': the shift of channel ${wrong} is ${values[wrong]}.`)
}

/**
 * The shift of a layer's output mean that rounding its weight causes, without running the quantized network:
 * E[W x] − E[Ŵ x] = (W − Ŵ) E[x], padding left out of account.
 *
 * @param rounded the weight as it will be read back, in the shape of the site's weight.
 * @param inputMeans mean of the layer's input per input channel.
 * @returns one number per output channel, to be added to the bias.
 * @throws WhittleError `SHAPE_MISMATCH`.
 */
export function weightShift(site: Site, rounded: Tensor, inputMeans: Float64Array): Float64Array {
  if (rounded.shape.join() !== site.weight.shape.join() || inputMeans.length !== site.inputs)
    fail(
      'SHAPE_MISMATCH',
      `Bias correction of '${site.name}': needs a weight [${site.weight.shape.join(', ')}] and ${site.inputs} means; got [${rounded.shape.join(', ')}] and ${inputMeans.length}.`,
    )
  const other = toFloat64(rounded)
  const difference = Float64Array.from(toFloat64(site.weight), (value, i) => value - other[i]!)
  const { product } = factorsOf(site)
  return constantResponse(site, inputMeans, difference).map((value) => product * value)
}
