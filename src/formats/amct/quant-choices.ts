/** AMCT's configuration of post-training quantization in this package's words. */
import type { ActivationChoice, CalibratorOptions, LayerChoice } from '../../compress/index.ts'
import { type AdaRoundChoice, NO_CHOICES, type QuantizationChoices } from '../choices.ts'
import { ADA_DEFAULTS, IFMR_DEFAULTS, NUM_OF_BINS, NUQ_DEFAULTS } from './calibration-params.ts'
import { type AmctLayer, type AmctLayers, quantizableLayers } from './layers.ts'
import { activationAlgorithm } from './quant-json.ts'
import type { AmctActivationParams, AmctQuantConfig, AmctWeightParams } from './quant-json-fields.ts'

function calibratorOf(params: AmctActivationParams): CalibratorOptions {
  if (activationAlgorithm(params) === 'hfmg') return { method: 'hfmg', numOfBins: params.num_of_bins ?? NUM_OF_BINS }
  return {
    method: 'ifmr',
    maxPercentile: params.max_percentile ?? IFMR_DEFAULTS.max_percentile,
    minPercentile: params.min_percentile ?? IFMR_DEFAULTS.min_percentile,
    searchRange: params.search_range ?? IFMR_DEFAULTS.search_range,
    searchStep: params.search_step ?? IFMR_DEFAULTS.search_step,
  }
}

/**
 * How AMCT's integers are stored here: unsigned. Its INT8 with offset o is our uint8 with zero point o + 128, number for
 * number, and uint8 is the type that processors multiply fast.
 */
function activationOf(params: AmctActivationParams, isAsymmetric: boolean): ActivationChoice {
  const bits = params.num_bits ?? 8
  return { type: bits === 16 ? 'uint16' : 'uint8', bits: bits === 4 ? 4 : bits, symmetric: !isAsymmetric }
}

function weightOf(params: AmctWeightParams, layer: AmctLayer): LayerChoice {
  return {
    type: 'int8',
    bits: params.num_bits ?? 8,
    perChannel: params.channel_wise ?? layer.facts?.channelWise ?? true,
    algorithm: 'arq',
  }
}

function adaRoundOf(params: AmctWeightParams): AdaRoundChoice {
  return {
    iterations: params.num_iteration ?? ADA_DEFAULTS.num_iteration,
    regularization: params.reg_param ?? ADA_DEFAULTS.reg_param,
    beta: params.beta_range ?? ADA_DEFAULTS.beta_range,
    warmStart: params.warm_start ?? ADA_DEFAULTS.warm_start,
  }
}

/** Gives each value one setting; layers that read the same value have to agree. */
class Agreement<T> {
  readonly found = new Map<string, T>()
  readonly #warnings: string[]

  constructor(warnings: string[]) {
    this.#warnings = warnings
  }

  set(value: string, setting: T, layer: AmctLayer): void {
    const first = this.found.get(value)
    if (first === undefined) this.found.set(value, setting)
    else if (JSON.stringify(first) !== JSON.stringify(setting))
      this.#warnings.push(
        `Layer '${layer.node}' reads value '${value}', which a layer before it asks to be quantized differently; the first one decides.`,
      )
  }
}

/**
 * What a full configuration asks of quantization.
 *
 * Layers without an entry, or whose entry does not enable them, are left out, as AMCT leaves them.
 *
 * @param config checked against the same layers.
 */
export function choicesFromAmctQuantConfig(config: AmctQuantConfig, layers: AmctLayers): QuantizationChoices {
  const warnings: string[] = []
  const entries = new Map([...config.layers].map(([name, settings]) => [layers.find(name), settings] as const))
  const nodes: string[] = []
  const excluded = new Map<string, string>()
  const weights = new Map<string, LayerChoice>()
  const tensors = new Agreement<ActivationChoice>(warnings)
  const calibration = new Agreement<CalibratorOptions>(warnings)
  const balance = new Map<string, number>()
  const adaRound = new Map<string, AdaRoundChoice>()
  const levels = new Map<string, number>()
  for (const layer of quantizableLayers(layers)) {
    const settings = entries.get(layer)
    if (settings?.quant_enable !== true) {
      excluded.set(layer.node, settings ? 'The configuration disables it.' : 'The configuration has no entry for it.')
      continue
    }
    nodes.push(layer.node)
    const activation = settings.activation_quant_params ?? {}
    const weight = settings.weight_quant_params ?? {}
    const isAsymmetric = !layer.facts.symmetricOnly && (activation.asymmetric ?? config.activation_offset ?? true)
    tensors.set(layer.input, activationOf(activation, isAsymmetric), layer)
    calibration.set(layer.input, calibratorOf(activation), layer)
    if (layer.weight !== undefined) weights.set(layer.node, weightOf(weight, layer))
    if (settings.dmq_balancer_param !== undefined) balance.set(layer.node, settings.dmq_balancer_param)
    if (weight.wts_algo === 'ada_quantize') adaRound.set(layer.node, adaRoundOf(weight))
    if (weight.wts_algo === 'nuq_quantize') levels.set(layer.node, weight.num_steps ?? NUQ_DEFAULTS.num_steps)
  }
  if (config.joint_quant === true)
    warnings.push("'joint_quant' is not needed: inputs of Concat share a scale where it pays.")
  for (const { layer_name, input_index, activation_quant_params = {} } of config.tensor_quantize ?? []) {
    const layer = layers.find(layer_name ?? '')
    const value = layer?.inputs[input_index ?? 0]
    if (!layer || value === undefined || value === '') {
      warnings.push(`'tensor_quantize': layer '${layer_name}' has no input ${input_index ?? 0}.`)
      continue
    }
    tensors.set(
      value,
      activationOf(activation_quant_params, activation_quant_params.asymmetric ?? config.activation_offset ?? true),
      layer,
    )
    calibration.set(value, calibratorOf(activation_quant_params), layer)
  }
  const unfolded = (config.skip_fusion_layers ?? []).flatMap((name) => layers.find(name)?.node ?? [])
  return {
    ...NO_CHOICES,
    nodes,
    excluded,
    layers: weights,
    tensors: tensors.found,
    calibration: calibration.found,
    balance,
    adaRound,
    levels,
    batches: config.batch_num,
    unfolded: config.do_fusion === false ? 'all' : unfolded,
    warnings,
  }
}
