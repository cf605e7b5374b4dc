/** AMCT's configuration of retraining in this package's words; sparsity is another command's. */
import type { ActivationChoice, LayerChoice } from '../../compress/index.ts'
import { NO_CHOICES, type QuantizationChoices, type RetrainChoice } from '../choices.ts'
import { type AmctLayers, quantizableLayers } from './layers.ts'
import type { AmctRetrainJson } from './retrain-json-fields.ts'

const bitsOf = (type: string | undefined): number => Number((type ?? 'INT8').slice(3))

/**
 * What a full configuration asks of quantization-aware training.
 *
 * @param config checked against the same layers.
 */
export function choicesFromAmctRetrainJson(config: AmctRetrainJson, layers: AmctLayers): QuantizationChoices {
  const warnings: string[] = []
  const entries = new Map([...config.layers].map(([name, settings]) => [layers.find(name), settings] as const))
  const retrain = new Map<string, RetrainChoice>()
  const excluded = new Map<string, string>()
  const weightChoices = new Map<string, LayerChoice>()
  const tensors = new Map<string, ActivationChoice>()
  for (const layer of quantizableLayers(layers)) {
    const settings = entries.get(layer)
    if (settings?.regular_prune_enable === true)
      warnings.push(
        `Layer '${layer.node}': its sparsity ('regular_prune_config') is not part of quantization and left out.`,
      )
    if (settings?.retrain_enable !== true) {
      excluded.set(layer.node, settings ? 'The configuration disables it.' : 'The configuration has no entry for it.')
      continue
    }
    const { retrain_data_config: data = {}, retrain_weight_config: weights = {} } = settings
    const clip =
      data.clip_max === undefined || data.clip_min === undefined
        ? undefined
        : { min: data.clip_min, max: data.clip_max }
    const [activationBits, weightBits] = [bitsOf(data.dst_type), bitsOf(weights.dst_type)]
    const perChannel = weights.channel_wise ?? layer.facts.channelWise
    retrain.set(layer.node, {
      clip,
      fixedMin: data.fixed_min,
      weights: weights.algo === 'ulq_retrain' ? 'ulq' : 'arq',
    })
    weightChoices.set(layer.node, { type: 'int8', bits: weightBits, perChannel, algorithm: 'arq' })
    if (!tensors.has(layer.input))
      tensors.set(layer.input, { type: activationBits === 16 ? 'uint16' : 'uint8', bits: activationBits })
  }
  return {
    ...NO_CHOICES,
    nodes: [...retrain.keys()],
    excluded,
    layers: weightChoices,
    tensors,
    retrain,
    batches: config.batch_num,
    warnings,
  }
}
