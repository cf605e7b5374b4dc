/** AMCT's JSON configuration of retraining (quantization-aware training, sparsity): read, checked, written. */
import { fail } from '../../core/index.ts'
import { codeSource, refuseAt, type TextSource } from '../source.ts'
import { printLayered, type ReadConfig, readLayered } from './layered-json.ts'
import type { AmctLayers } from './layers.ts'
import {
  type AmctRetrainJson,
  type AmctRetrainLayer,
  RETRAIN_GLOBAL_FIELDS,
  RETRAIN_LAYER_FIELDS,
} from './retrain-json-fields.ts'

/** Types of activations and weights that go together (RETRAIN_ACT_WTS_TYPES of AMCT). */
export const TYPE_PAIRS: readonly string[] = ['A4W4', 'A8W8', 'A16W8', 'A8W4']

/** `A8W4` of INT8 and INT4; INT8 where nothing is said. */
export function typePair(data: string | undefined, weight: string | undefined): string {
  return `A${(data ?? 'INT8').slice(3)}W${(weight ?? 'INT8').slice(3)}`
}

function checkLayer(settings: AmctRetrainLayer, source: TextSource, name: string): void {
  const { retrain_data_config: data, retrain_weight_config: weights, regular_prune_config: prune } = settings
  if (data && (data.clip_max === undefined) !== (data.clip_min === undefined)) {
    const [given, absent] = data.clip_max === undefined ? ['clip_min', 'clip_max'] : ['clip_max', 'clip_min']
    refuseAt(source, data, given!, `'${given}' of layer '${name}' needs '${absent}' beside it.`)
  }
  const pair = typePair(data?.dst_type, weights?.dst_type)
  if (!TYPE_PAIRS.includes(pair)) {
    const [holder, key] = weights?.dst_type ? [weights, 'dst_type'] : [data!, 'dst_type']
    refuseAt(
      source,
      holder,
      key,
      `activations and weights of layer '${name}' must be one of ${TYPE_PAIRS.join(', ')}; got ${pair}.`,
    )
  }
  if (!prune) return
  const foreign =
    prune.algo === 'l1_selective_prune'
      ? (['prune_ratio', 'ascend_optimized'] as const)
      : (['n_out_of_m_type', 'update_freq'] as const)
  const found = foreign.find((key) => prune[key] !== undefined)
  if (found !== undefined)
    refuseAt(
      source,
      prune,
      found,
      `'${found}' of layer '${name}' is no parameter of ${prune.algo ?? 'balanced_l2_norm_filter_prune'}.`,
    )
  if (prune.algo === 'balanced_l2_norm_filter_prune' && prune.prune_ratio === undefined)
    refuseAt(source, prune, 'algo', `'prune_ratio' of layer '${name}' is missing.`)
}

/**
 * Checks a configuration against a model's layers.
 *
 * @param source places, as the reader gave them; default none.
 * @throws WhittleError `INVALID_FILE` with the place of a layer that does not exist or cannot be retrained, of a
 *   setting that its type does not allow, or when no layer is enabled.
 */
export function checkAmctRetrainJson(
  config: AmctRetrainJson,
  layers: AmctLayers,
  source: TextSource = codeSource('AMCT configuration'),
): void {
  for (const [name, settings] of config.layers) {
    const layer = layers.find(name)
    if (layer === undefined)
      throw refuseAt(
        source,
        config.layers,
        name,
        `'${name}' is an invalid layer name or parameter: the model has no such layer.`,
      )
    if (!layer.facts?.retrains)
      throw refuseAt(source, config.layers, name, `layer '${name}' is a ${layer.type}, which cannot be retrained.`)
    if (layer.refusal !== undefined && settings.retrain_enable === true)
      refuseAt(source, config.layers, name, `layer '${name}' cannot be retrained: ${layer.refusal}.`)
    const weights = settings.retrain_weight_config
    if (weights?.channel_wise === true && !layer.facts.channelWise)
      refuseAt(
        source,
        weights,
        'channel_wise',
        `'channel_wise' must be false for layers of type ${layer.type}, as '${name}' is.`,
      )
    const prune = settings.regular_prune_enable === true ? settings.regular_prune_config : undefined
    const can = prune?.algo === 'l1_selective_prune' ? layer.facts.sparsifies : layer.facts.prunes
    if (prune && !can)
      refuseAt(source, prune, 'algo', `layers of type ${layer.type}, as '${name}' is, cannot be pruned so.`)
  }
  const isEnabled = [...config.layers.values()].some(
    (each) => each.retrain_enable === true || each.regular_prune_enable === true,
  )
  if (!isEnabled)
    fail('INVALID_FILE', `${source.fileName}: no layer is enabled. Set "retrain_enable" of at least one layer to true.`)
}

/**
 * Reads AMCT's JSON configuration of retraining.
 *
 * @param fileName name for messages.
 * @param layers the model's layers, to check against; default: the file is checked alone.
 * @throws WhittleError `INVALID_FILE` with `FILE:LINE:COLUMN`.
 */
export function readAmctRetrainJson(text: string, fileName: string, layers?: AmctLayers): ReadConfig<AmctRetrainJson> {
  const read = readLayered(text, fileName, RETRAIN_GLOBAL_FIELDS, RETRAIN_LAYER_FIELDS)
  for (const [name, layer] of read.config.layers) checkLayer(layer, read.source, name)
  if (layers) checkAmctRetrainJson(read.config, layers, read.source)
  return read
}

/**
 * Writes AMCT's JSON configuration of retraining; reading it back gives equal values.
 *
 * @throws WhittleError `INVALID_FILE` when a value is out of range.
 */
export function writeAmctRetrainJson(config: AmctRetrainJson): string {
  return printLayered(config, RETRAIN_GLOBAL_FIELDS, RETRAIN_LAYER_FIELDS)
}
