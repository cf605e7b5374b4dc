/** AMCT's JSON configuration of post-training quantization: read, checked against a model, written. */
import { fail } from '../../core/index.ts'
import { codeSource, refuseAt, type TextSource } from '../source.ts'
import { printLayered, type ReadConfig, readLayered } from './layered-json.ts'
import type { AmctLayer, AmctLayers } from './layers.ts'
import {
  type AmctActivationParams,
  type AmctQuantConfig,
  type AmctQuantLayer,
  type AmctWeightParams,
  HFMG_KEYS,
  IFMR_KEYS,
  QUANT_GLOBAL_FIELDS,
  QUANT_LAYER_FIELDS,
  WEIGHT_ALGORITHM_KEYS,
} from './quant-json-fields.ts'

/** AMCT's default of `search_range`. */
export const SEARCH_RANGE: readonly [number, number] = [0.7, 1.3]

/** Which algorithm a layer's activations have, by what is set; default IFMR. */
export function activationAlgorithm(params: AmctActivationParams): 'ifmr' | 'hfmg' {
  return params.act_algo ?? (HFMG_KEYS.some((key) => params[key] !== undefined) ? 'hfmg' : 'ifmr')
}

function checkActivation(params: AmctActivationParams, source: TextSource, what: string): void {
  const algorithm = activationAlgorithm(params)
  const foreign = (algorithm === 'ifmr' ? HFMG_KEYS : IFMR_KEYS).find((key) => params[key] !== undefined)
  if (foreign !== undefined) {
    const other = algorithm === 'ifmr' ? 'hfmg' : 'ifmr'
    refuseAt(source, params, foreign, `'${foreign}' belongs to ${other}, but ${what} has ${algorithm}'s parameters.`)
  }
  if (params.search_step === undefined) return
  const [start, end] = params.search_range ?? SEARCH_RANGE
  const length = Number((end - start).toPrecision(12))
  if (params.search_step > length)
    refuseAt(
      source,
      params,
      'search_step',
      `'search_step' in ${what} must be at most the length of the search range, ${length}; got ${params.search_step}.`,
    )
}

function checkWeight(params: AmctWeightParams, source: TextSource, what: string): void {
  const algorithm = params.wts_algo ?? 'arq_quantize'
  const allowed: readonly string[] = ['num_bits', 'wts_algo', ...WEIGHT_ALGORITHM_KEYS[algorithm]]
  const foreign = Object.keys(params).find((key) => !allowed.includes(key))
  if (foreign !== undefined)
    refuseAt(
      source,
      params,
      foreign,
      `'${foreign}' in ${what} is no parameter of ${algorithm}; its parameters are ${allowed.join(', ')}.`,
    )
}

/** What a layer's type does not allow; `undefined` when all is well. */
function typeProblem(settings: AmctQuantLayer, layer: AmctLayer): [object, string, string] | undefined {
  const { facts, type } = layer
  const weights = settings.weight_quant_params ?? {}
  const activations = settings.activation_quant_params ?? {}
  if (!facts) return undefined
  if (weights.channel_wise === true && !facts.channelWise)
    return [weights, 'channel_wise', `'channel_wise' must be false for layers of type ${type}.`]
  if ((weights.num_bits === 6 || weights.num_bits === 7) && !facts.fewBits)
    return [
      weights,
      'num_bits',
      `weights of ${weights.num_bits} bits are only for Conv2d; this layer is of type ${type}.`,
    ]
  if (weights.wts_algo === 'ada_quantize' && !facts.adaRound)
    return [
      weights,
      'wts_algo',
      `'ada_quantize' is only for Conv2d, ConvTranspose2d and Linear; this layer is of type ${type}.`,
    ]
  if (activations.num_bits === 16 && !facts.int16)
    return [activations, 'num_bits', `activations of 16 bits are not for layers of type ${type}.`]
  if (activations.asymmetric === true && facts.symmetricOnly && settings.quant_enable === true)
    return [activations, 'asymmetric', `'asymmetric' must be false for layers of type ${type}.`]
  if (settings.dmq_balancer_param !== undefined && !facts.balances)
    return [settings, 'dmq_balancer_param', `layers of type ${type} cannot be balanced.`]
  return undefined
}

/** Names the layer of a key, or refuses it with the key's place. */
function existingLayer(layers: AmctLayers, source: TextSource, container: object, key: string | number, name: string) {
  const layer = layers.find(name)
  if (layer === undefined)
    return refuseAt(
      source,
      container,
      key,
      `'${name}' is an invalid layer name or parameter: the model has no such layer.`,
    )
  return layer
}

/**
 * Checks a configuration against a model's layers.
 *
 * @param source places, as the reader gave them; default none.
 * @throws WhittleError `INVALID_FILE` with the place of a layer that does not exist or that AMCT does not quantize, of
 *   a setting that its type does not allow, or when no layer is enabled.
 */
export function checkAmctQuantConfig(
  config: AmctQuantConfig,
  layers: AmctLayers,
  source: TextSource = codeSource('AMCT configuration'),
): void {
  for (const [name, settings] of config.layers) {
    const layer = existingLayer(layers, source, config.layers, name, name)
    if (layer.facts === undefined)
      refuseAt(source, config.layers, name, `layer '${name}' is a ${layer.type}, which cannot be quantized.`)
    if (layer.refusal !== undefined && settings.quant_enable === true)
      refuseAt(source, config.layers, name, `layer '${name}' cannot be quantized: ${layer.refusal}.`)
    const problem = typeProblem(settings, layer)
    if (problem) refuseAt(source, problem[0], problem[1], `layer '${name}': ${problem[2]}`)
  }
  for (const [index, name] of (config.skip_fusion_layers ?? []).entries()) {
    const list = config.skip_fusion_layers!
    if (list.indexOf(name) !== index) refuseAt(source, list, index, `'skip_fusion_layers' names '${name}' twice.`)
    const layer = existingLayer(layers, source, list, index, name)
    if (!layer.facts?.fuses)
      refuseAt(source, list, index, `'skip_fusion_layers' takes convolutions; '${name}' is a ${layer.type}.`)
  }
  for (const tensor of config.tensor_quantize ?? [])
    existingLayer(layers, source, tensor, 'layer_name', tensor.layer_name ?? '')
  const isEnabled = [...config.layers.values()].some((layer) => layer.quant_enable === true)
  if (!isEnabled && (config.tensor_quantize ?? []).length === 0)
    fail('INVALID_FILE', `${source.fileName}: no layer is enabled. Set "quant_enable" of at least one layer to true.`)
}

/**
 * Reads AMCT's JSON configuration of post-training quantization.
 *
 * What is absent stays absent: AMCT quantizes a layer only when its entry says so.
 *
 * @param fileName name for messages.
 * @param layers the model's layers, to check against; default: the file is checked alone.
 * @throws WhittleError `INVALID_FILE` with `FILE:LINE:COLUMN`.
 */
export function readAmctQuantConfig(text: string, fileName: string, layers?: AmctLayers): ReadConfig<AmctQuantConfig> {
  const read = readLayered(text, fileName, QUANT_GLOBAL_FIELDS, QUANT_LAYER_FIELDS)
  const { config, source } = read
  for (const [name, layer] of config.layers) {
    if (layer.activation_quant_params) checkActivation(layer.activation_quant_params, source, `layer '${name}'`)
    if (layer.weight_quant_params) checkWeight(layer.weight_quant_params, source, `layer '${name}'`)
  }
  for (const tensor of config.tensor_quantize ?? [])
    if (tensor.activation_quant_params) checkActivation(tensor.activation_quant_params, source, "'tensor_quantize'")
  if (layers) checkAmctQuantConfig(config, layers, source)
  return read
}

/**
 * Writes AMCT's JSON configuration of post-training quantization; reading it back gives equal values.
 *
 * @throws WhittleError `INVALID_FILE` when a value is out of range.
 */
export function writeAmctQuantConfig(config: AmctQuantConfig): string {
  return printLayered(config, QUANT_GLOBAL_FIELDS, QUANT_LAYER_FIELDS)
}
