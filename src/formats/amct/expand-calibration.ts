/**
 * From AMCT's simplified configuration of post-training quantization to the full one for a model, as
 * `create_quant_config(…, config_defination=…)` does it.
 *
 * Settings of a layer replace those of its type, and these the common ones, as a whole; they are not merged.
 */
import { fail } from '../../core/index.ts'
import { codeSource, refuseAt, type TextSource } from '../source.ts'
import {
  ADA_DEFAULTS,
  hfmgParams,
  IFMR_DEFAULTS,
  ifmrParams,
  layerParams,
  NUM_OF_BINS,
  NUQ_DEFAULTS,
} from './calibration-params.ts'
import type { AmctCalibration, AmctCalibrationConfig } from './calibration-schema.ts'
import { checkCalibrationRanges } from './check-calibration.ts'
import type { LayerTypeFacts } from './layer-types.ts'
import { type AmctLayer, type AmctLayers, quantizableLayers } from './layers.ts'
import { checkTypes, findOverrides, namedLayers, type Origin } from './overrides.ts'
import { activationAlgorithm, checkAmctQuantConfig } from './quant-json.ts'
import type { AmctActivationParams, AmctQuantConfig, AmctQuantLayer, AmctWeightParams } from './quant-json-fields.ts'

/** Options of {@link expandAmctCalibration} and {@link expandAmctRetrain}. */
export interface ExpandOptions {
  /** Places, as the reader gave them; default none. */
  readonly source?: TextSource | undefined
  /** How layers are named: as the model's nodes (default), or as the PyTorch modules they came from. */
  readonly names?: 'node' | 'module' | undefined
}

/** A full configuration, and what of the simplified one could not be done as written. */
export interface Expanded<T> {
  readonly config: T
  readonly warnings: readonly string[]
}

/** The name of a layer in a written configuration; a module's name that several nodes have is no good. */
export function nameFor(layer: AmctLayer, layers: AmctLayers, names: ExpandOptions['names']): string {
  return names === 'module' && layers.find(layer.module) === layer ? layer.module : layer.node
}

type Quantizable = AmctLayer & { readonly facts: LayerTypeFacts }

interface Expansion {
  readonly message: AmctCalibrationConfig
  readonly common: AmctCalibration | undefined
  readonly source: TextSource
  readonly warnings: string[]
}

/** The settings that hold for a layer, their message and where they stand. */
interface Chosen {
  readonly origin: Origin
  readonly message: AmctCalibration | undefined
  readonly settings: AmctQuantLayer
}

/** Takes away what a layer's type does not allow: with a warning when it was meant for all, else with an error. */
class Limits {
  readonly #expansion: Expansion
  readonly #chosen: Chosen
  readonly #layer: Quantizable

  constructor(expansion: Expansion, chosen: Chosen, layer: Quantizable) {
    this.#expansion = expansion
    this.#chosen = chosen
    this.#layer = layer
  }

  /** @param place message and field to name. */
  refuse(place: readonly [object | undefined, string], problem: string, instead: string): void {
    const { source, warnings } = this.#expansion
    const { node, type } = this.#layer
    if (this.#chosen.origin !== 'common')
      refuseAt(source, place[0] ?? this.#expansion.message, place[1], `layer '${node}' of type ${type}: ${problem}.`)
    warnings.push(`Layer '${node}' of type ${type}: ${problem}; ${instead}.`)
  }
}

function fillActivation(params: AmctActivationParams): AmctActivationParams {
  if (activationAlgorithm(params) === 'hfmg')
    return { num_bits: 8, num_of_bins: NUM_OF_BINS, ...params, act_algo: 'hfmg' }
  return { num_bits: 8, ...IFMR_DEFAULTS, ...params, act_algo: 'ifmr' }
}

function fillWeights(params: AmctWeightParams, facts: LayerTypeFacts): AmctWeightParams {
  const algorithm = params.wts_algo ?? 'arq_quantize'
  const defaults = { arq_quantize: {}, ada_quantize: ADA_DEFAULTS, nuq_quantize: NUQ_DEFAULTS }[algorithm]
  return { num_bits: 8, ...defaults, channel_wise: facts.channelWise, ...params, wts_algo: algorithm }
}

function limitWeights(params: AmctWeightParams, layer: Quantizable, chosen: Chosen, limits: Limits): AmctWeightParams {
  const { facts } = layer
  const arq = chosen.message?.arq_quantize
  const bits = params.num_bits
  let limited = params
  if ((bits === 6 || bits === 7) && !facts.fewBits) {
    limits.refuse([arq, 'quant_bits'], `weights of ${bits} bits are only for Conv2d`, 'they get 8')
    limited = { ...limited, num_bits: 8 }
  } else if (bits === 4 && !layer.packsFourBits) limited = { ...limited, num_bits: 8 }
  if (params.channel_wise === true && !facts.channelWise) {
    const place = arq ?? chosen.message?.ada_quantize
    limits.refuse([place, 'channel_wise'], "'channel_wise' must be false", 'its weights share one scale')
    limited = { ...limited, channel_wise: false }
  }
  return limited
}

function expandLayer(expansion: Expansion, layer: Quantizable, chosen: Chosen, isEnabled: boolean): AmctQuantLayer {
  const { facts } = layer
  const limits = new Limits(expansion, chosen, layer)
  let activations = fillActivation(chosen.settings.activation_quant_params ?? {})
  const usesAda = chosen.settings.weight_quant_params?.wts_algo === 'ada_quantize'
  if (activations.num_bits === 16 && !facts.int16) {
    const place = chosen.message?.ifmr_quantize ?? chosen.message?.hfmg_quantize
    limits.refuse([place, 'dst_type'], 'activations of 16 bits are not for it', 'they get 8')
    activations = { ...activations, num_bits: 8 }
  }
  if (usesAda && !facts.adaRound)
    limits.refuse(
      [chosen.message, 'ada_quantize'],
      "'ada_quantize' is not for it",
      'its weights are rounded to nearest',
    )
  let strength = chosen.settings.dmq_balancer_param
  if (strength !== undefined && !facts.balances) {
    limits.refuse([chosen.message, 'dmq_balancer'], 'it cannot be balanced', 'it is not')
    strength = undefined
  }
  if (activations.asymmetric === true && facts.symmetricOnly)
    limits.refuse(
      [chosen.message?.ifmr_quantize ?? chosen.message?.hfmg_quantize, 'asymmetric'],
      'activations must be symmetric',
      'they are',
    )
  const weights = limitWeights(fillWeights(chosen.settings.weight_quant_params ?? {}, facts), layer, chosen, limits)
  return {
    quant_enable: isEnabled,
    ...(strength === undefined ? {} : { dmq_balancer_param: strength }),
    activation_quant_params: {
      ...activations,
      asymmetric: !facts.symmetricOnly && isAsymmetric(activations, expansion),
    },
    ...(usesAda && !facts.adaRound ? {} : { weight_quant_params: weights }),
  }
}

/** A layer's own setting, else the common one when it is about the same algorithm, else `activation_offset`. */
function isAsymmetric(params: AmctActivationParams, { message, common }: Expansion): boolean {
  if (params.asymmetric !== undefined) return params.asymmetric
  const shared = layerParams(common).activation_quant_params
  const isSame = shared?.act_algo !== undefined && shared.act_algo === params.act_algo
  return (isSame ? shared.asymmetric : undefined) ?? message.activation_offset ?? true
}

/**
 * Expands AMCT's simplified configuration of post-training quantization to the full one for a model.
 *
 * @returns every layer that AMCT quantizes, those of `skip_layers` and `skip_layer_types` with `quant_enable` false;
 *   and a warning for each common setting that a layer's type does not allow.
 * @throws WhittleError `INVALID_FILE` with the place of what is out of range, of layers and types that do not exist or
 *   are named twice, and of overrides that a layer's type does not allow.
 */
export function expandAmctCalibration(
  message: AmctCalibrationConfig,
  layers: AmctLayers,
  options: ExpandOptions = {},
): Expanded<AmctQuantConfig> {
  const source = options.source ?? codeSource('AMCT configuration')
  checkCalibrationRanges(message, source)
  checkTypes(message.skip_layer_types, source, 'skip_layer_types')
  const skipped = namedLayers(message.skip_layers, layers, source, 'skip_layers')
  for (const [index, name] of message.skip_layers.entries())
    if (!layers.find(name)?.facts)
      refuseAt(
        source,
        message.skip_layers,
        index,
        `skip_layers: '${name}' cannot be quantized, so it need not be skipped.`,
      )
  const overrides = findOverrides(message.override_layer_configs, message.override_layer_types, layers, source)
  const hasCommon = message.common_config !== undefined || message.override_layer_types.length > 0
  const common = hasCommon ? message.common_config : message.conv_calibration_config
  const expansion: Expansion = { message, common, source, warnings: [] }
  const nameOf = (layer: AmctLayer): string => nameFor(layer, layers, options.names)
  const found: [string, AmctQuantLayer][] = quantizableLayers(layers).map((layer) => {
    const override = overrides.of(layer)
    const deprecated = hasCommon || layer.facts.channelWise ? common : (message.fc_calibration_config ?? common)
    const calibration = override ? override.entry.calibration_config : deprecated
    const chosen: Chosen = {
      origin: override?.origin ?? 'common',
      message: calibration,
      settings: layerParams(calibration),
    }
    const isEnabled = !skipped.has(layer) && !layer.types.some((type) => message.skip_layer_types.includes(type))
    return [nameOf(layer), expandLayer(expansion, layer, chosen, isEnabled)]
  })
  if (found.length === 0) fail('INVALID_FILE', `${source.fileName}: the model has no layer that can be quantized.`)
  const config: AmctQuantConfig = {
    version: 1,
    batch_num: message.batch_num ?? 1,
    activation_offset: message.activation_offset ?? true,
    ...(message.joint_quant === undefined ? {} : { joint_quant: message.joint_quant }),
    do_fusion: message.do_fusion ?? true,
    ...(message.fakequant_precision_mode ? { fakequant_precision_mode: message.fakequant_precision_mode } : {}),
    skip_fusion_layers: message.skip_fusion_layers,
    ...(message.skip_approximation_layers.length > 0
      ? { skip_approximation_layers: message.skip_approximation_layers }
      : {}),
    ...(message.tensor_quantize.length > 0 ? { tensor_quantize: expandTensors(expansion) } : {}),
    layers: new Map(found.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))),
  }
  checkAmctQuantConfig(config, layers, source)
  return { config, warnings: expansion.warnings }
}

function expandTensors(expansion: Expansion): NonNullable<AmctQuantConfig['tensor_quantize']> {
  return expansion.message.tensor_quantize.map(({ layer_name, input_index, ifmr_quantize, hfmg_quantize }) => {
    const params = fillActivation(hfmg_quantize ? hfmgParams(hfmg_quantize) : ifmrParams(ifmr_quantize ?? {}))
    const activation_quant_params = { ...params, asymmetric: isAsymmetric(params, expansion) }
    return { layer_name, input_index, activation_quant_params }
  })
}
