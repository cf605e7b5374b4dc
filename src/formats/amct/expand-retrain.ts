/**
 * From AMCT's simplified configuration of retraining to the full one for a model, as
 * `create_quant_retrain_config(…, config_defination=…)` and `create_compressed_retrain_model` do it: quantization when
 * the file has quantization settings or no sparsity, sparsity when it has some.
 */
import { fail } from '../../core/index.ts'
import { codeSource, refuseAt, type TextSource } from '../source.ts'
import { shortestFloat32 } from '../text/float32.ts'
import { type Expanded, type ExpandOptions, nameFor } from './expand-calibration.ts'
import { type AmctLayer, type AmctLayers, quantizableLayers } from './layers.ts'
import { checkTypes, findOverrides, namedLayers, type Overrides } from './overrides.ts'
import { checkAmctRetrainJson, TYPE_PAIRS, typePair } from './retrain-json.ts'
import type {
  AmctPruneParams,
  AmctRetrainDataParams,
  AmctRetrainJson,
  AmctRetrainLayer,
  AmctRetrainWeightParams,
} from './retrain-json-fields.ts'
import type { AmctRetrainConfig, AmctRetrainData, AmctRetrainWeights } from './retrain-schema.ts'

/** What may be set for all, for a type and for a layer. */
type Settings = Pick<AmctRetrainConfig, 'retrain_data_quant_config' | 'retrain_weight_quant_config' | 'prune_config'>

function dataParams(message: AmctRetrainData | undefined): AmctRetrainDataParams {
  const ulq = message?.ulq_quantize
  const clip = ulq?.clip_max_min
  return {
    algo: 'ulq_quantize',
    ...(clip ? { clip_max: shortestFloat32(clip.clip_max), clip_min: shortestFloat32(clip.clip_min) } : {}),
    ...(ulq?.fixed_min === undefined ? {} : { fixed_min: ulq.fixed_min }),
    dst_type: ulq?.dst_type ?? 'INT8',
  }
}

function weightParams(message: AmctRetrainWeights | undefined, isChannelWise: boolean): AmctRetrainWeightParams {
  const settings = message?.arq_retrain ?? message?.ulq_retrain
  return {
    algo: message?.ulq_retrain ? 'ulq_retrain' : 'arq_retrain',
    channel_wise: settings?.channel_wise ?? isChannelWise,
    dst_type: settings?.dst_type ?? 'INT8',
  }
}

function pruneParams(message: Settings['prune_config'], source: TextSource): AmctPruneParams | undefined {
  const filter = message?.filter_pruner
  const selective = message?.n_out_of_m_pruner
  if (filter) {
    const settings = filter.balanced_l2_norm_filter_prune
    if (!settings)
      return refuseAt(source, message!, 'filter_pruner', "'filter_pruner' needs 'balanced_l2_norm_filter_prune' in it.")
    const ratio = shortestFloat32(settings.prune_ratio)
    if (!(ratio > 0 && ratio < 1))
      refuseAt(source, settings, 'prune_ratio', `'prune_ratio' must be above 0 and below 1; got ${ratio}.`)
    return {
      prune_type: 'filter_prune',
      algo: 'balanced_l2_norm_filter_prune',
      prune_ratio: ratio,
      ascend_optimized: settings.ascend_optimized ?? true,
    }
  }
  if (!selective) return undefined
  const settings = selective.l1_selective_prune
  if (!settings)
    return refuseAt(source, message!, 'n_out_of_m_pruner', "'n_out_of_m_pruner' needs 'l1_selective_prune' in it.")
  return {
    prune_type: 'selective_prune',
    algo: 'l1_selective_prune',
    n_out_of_m_type: settings.n_out_of_m_type ?? 'M4N2',
    update_freq: settings.update_freq ?? 0,
  }
}

function checkSettings(settings: Settings, source: TextSource): void {
  const ulq = settings.retrain_data_quant_config?.ulq_quantize
  const clip = ulq?.clip_max_min
  if (clip && !(clip.clip_max > 0))
    refuseAt(source, clip, 'clip_max', `'clip_max' must be above 0; got ${shortestFloat32(clip.clip_max)}.`)
  if (clip && !(clip.clip_min < 0))
    refuseAt(source, clip, 'clip_min', `'clip_min' must be below 0; got ${shortestFloat32(clip.clip_min)}.`)
  const weights = settings.retrain_weight_quant_config?.arq_retrain ?? settings.retrain_weight_quant_config?.ulq_retrain
  const pair = typePair(ulq?.dst_type, weights?.dst_type)
  if (!TYPE_PAIRS.includes(pair)) {
    const holder = weights?.dst_type ? weights : ulq!
    refuseAt(
      source,
      holder,
      'dst_type',
      `activations and weights must be one of ${TYPE_PAIRS.join(', ')}; got ${pair}.`,
    )
  }
}

interface Skips {
  readonly layers: ReadonlySet<AmctLayer>
  readonly types: readonly string[]
}

const isSkipped = (skips: Skips, layer: AmctLayer): boolean =>
  skips.layers.has(layer) || layer.types.some((type) => skips.types.includes(type))

interface Expansion {
  readonly message: AmctRetrainConfig
  readonly overrides: Overrides<Settings>
  readonly source: TextSource
  readonly warnings: string[]
  readonly quantizes: boolean
  readonly prunes: boolean
  readonly quantSkips: Skips
  readonly pruneSkips: Skips
}

type Quantizable = ReturnType<typeof quantizableLayers>[number]

function expandLayer(expansion: Expansion, layer: Quantizable): AmctRetrainLayer | undefined {
  const { message, source, quantizes, prunes } = expansion
  const { facts } = layer
  const override = expansion.overrides.of(layer)?.entry
  const hasOwn =
    override?.retrain_data_quant_config !== undefined || override?.retrain_weight_quant_config !== undefined
  const settings: Settings = override && hasOwn ? override : message
  let quantization: AmctRetrainLayer = {}
  if (quantizes) {
    let weights = weightParams(settings.retrain_weight_quant_config, facts.channelWise)
    if (weights.channel_wise === true && !facts.channelWise) {
      const given =
        settings.retrain_weight_quant_config?.arq_retrain ?? settings.retrain_weight_quant_config?.ulq_retrain
      if (hasOwn)
        refuseAt(source, given!, 'channel_wise', `'channel_wise' must be false for layers of type ${layer.type}.`)
      expansion.warnings.push(`Layer '${layer.node}' of type ${layer.type}: its weights share one scale.`)
      weights = { ...weights, channel_wise: false }
    }
    if (weights.dst_type === 'INT4' && !layer.packsFourBits) {
      expansion.warnings.push(
        `Layer '${layer.node}': weights of 4 bits need an even number of input channels and no groups; it gets 8.`,
      )
      weights = { ...weights, dst_type: 'INT8' }
    }
    const hasCommon =
      message.retrain_data_quant_config !== undefined || message.retrain_weight_quant_config !== undefined
    const isEnabled = hasOwn || (!isSkipped(expansion.quantSkips, layer) && (hasCommon || !prunes))
    quantization = {
      retrain_enable: isEnabled,
      retrain_data_config: dataParams(settings.retrain_data_quant_config),
      retrain_weight_config: weights,
    }
  }
  const prune = prunes ? pruneParams(override?.prune_config ?? message.prune_config, source) : undefined
  const canPrune = prune?.prune_type === 'selective_prune' ? facts.sparsifies : facts.prunes
  if (prune && !canPrune && override?.prune_config)
    refuseAt(source, override, 'prune_config', `layers of type ${layer.type} cannot be pruned so.`)
  if (prune && canPrune)
    return {
      ...quantization,
      regular_prune_enable: !isSkipped(expansion.pruneSkips, layer),
      regular_prune_config: prune,
    }
  return quantizes ? quantization : undefined
}

/**
 * Expands AMCT's simplified configuration of retraining to the full one for a model.
 *
 * @returns every layer that can be retrained or pruned; and a warning for each common setting that a layer cannot have.
 * @throws WhittleError `INVALID_FILE` with the place of what is out of range, of layers and types that do not exist or
 *   are named twice, and of overrides that a layer's type does not allow.
 */
export function expandAmctRetrain(
  message: AmctRetrainConfig,
  layers: AmctLayers,
  options: ExpandOptions = {},
): Expanded<AmctRetrainJson> {
  const source = options.source ?? codeSource('AMCT configuration')
  if (message.batch_num === 0) refuseAt(source, message, 'batch_num', "'batch_num' must be at least 1; got 0.")
  const entries: Settings[] = [message, ...message.override_layer_configs, ...message.override_layer_types]
  for (const entry of entries) checkSettings(entry, source)
  for (const field of ['skip_layer_types', 'quant_skip_types', 'regular_prune_skip_types'] as const)
    checkTypes(message[field], source, field)
  const named = (field: 'skip_layers' | 'quant_skip_layers' | 'regular_prune_skip_layers') =>
    namedLayers(message[field], layers, source, field)
  const skips = (own: ReadonlySet<AmctLayer>, types: readonly string[]): Skips => ({
    layers: new Set([...named('skip_layers'), ...own]),
    types: [...message.skip_layer_types, ...types],
  })
  const prunes = entries.some((entry) => entry.prune_config !== undefined)
  const hasQuantization = entries.some(
    (entry) => entry.retrain_data_quant_config !== undefined || entry.retrain_weight_quant_config !== undefined,
  )
  const expansion: Expansion = {
    message,
    overrides: findOverrides<Settings & { layer_name: string }, Settings & { layer_type: string }>(
      message.override_layer_configs,
      message.override_layer_types,
      layers,
      source,
    ),
    source,
    warnings: [],
    quantizes: hasQuantization || !prunes,
    prunes,
    quantSkips: skips(named('quant_skip_layers'), message.quant_skip_types),
    pruneSkips: skips(named('regular_prune_skip_layers'), message.regular_prune_skip_types),
  }
  const found = new Map<string, AmctRetrainLayer>()
  for (const layer of quantizableLayers(layers)) {
    if (!layer.facts.retrains) continue
    const settings = expandLayer(expansion, layer)
    if (settings) found.set(nameFor(layer, layers, options.names), settings)
  }
  if (found.size === 0) fail('INVALID_FILE', `${source.fileName}: the model has no layer that can be retrained.`)
  const config: AmctRetrainJson = {
    version: 1,
    ...(message.fakequant_precision_mode ? { fakequant_precision_mode: message.fakequant_precision_mode } : {}),
    ...(expansion.quantizes ? { batch_num: message.batch_num ?? 1 } : {}),
    layers: found,
  }
  checkAmctRetrainJson(config, layers, source)
  return { config, warnings: expansion.warnings }
}
