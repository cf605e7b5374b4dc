/** Factors of AMCT's layers, their inputs' and weights', as a record: what AMCT quantizes, and nothing between. */
import {
  affineParameters,
  calibrate,
  type IntegerType,
  type Range,
  statisticNeeds,
  TensorStatistics,
  weightAxis,
  weightQuantization,
} from '../compress/index.ts'
import { collectStatistics } from '../engine/index.ts'
import type { AmctLayer, AmctLayerRecord, AmctLayers, AmctRecord, QuantizationChoices } from '../formats/index.ts'
import type { Evaluator, Model, TensorMap } from '../graph/index.ts'

/** The types that activations are planned in, by bits. */
const UNSIGNED: Readonly<Record<number, IntegerType>> = { 4: 'uint4', 8: 'uint8', 16: 'uint16' }
const SIGNED: Readonly<Record<number, IntegerType>> = { 4: 'int4', 8: 'int8', 16: 'int16' }

/**
 * The record of layers' factors: inputs calibrated on data, weights from their magnitudes (ARQ).
 *
 * @param model prepared for quantization.
 * @param choices what a configuration asks for; inputs are calibrated by IFMR where it says nothing.
 * @param data batches, one pass; all of them are used.
 */
export async function layerFactors(
  evaluator: Evaluator,
  model: Model,
  layers: AmctLayers,
  choices: QuantizationChoices,
  data: () => AsyncIterable<TensorMap>,
): Promise<AmctRecord> {
  const chosen = (choices.nodes ?? []).map((name) => layers.find(name)!)
  const rangeOf = ({ node, input }: AmctLayer): Range | undefined =>
    choices.retrain.get(node)?.clip ?? choices.ranges.get(input)
  const calibrators = new Map(
    chosen
      .filter((layer) => !rangeOf(layer))
      .map(({ input }) => [input, choices.calibration.get(input) ?? ({ method: 'ifmr' } as const)]),
  )
  const requests = [...calibrators].map(([tensor, calibrator]) => ({
    tensor,
    statistics: new TensorStatistics(statisticNeeds(calibrator)),
  }))
  const statistics =
    requests.length > 0
      ? await collectStatistics(evaluator, model, requests, data)
      : new Map<string, TensorStatistics>()
  const record = chosen.map((layer) => {
    const { symmetric = false, bits = 8 } = choices.tensors.get(layer.input) ?? {}
    const target = { type: (symmetric ? SIGNED : UNSIGNED)[bits]!, bits, symmetric }
    const range = rangeOf(layer) ?? calibrate(statistics.get(layer.input)!, calibrators.get(layer.input)!, target)
    const { scale, zeroPoint } = affineParameters(range, target)
    const factors = { scale_d: scale, offset_d: zeroPoint - (symmetric ? 0 : 2 ** (bits - 1)), act_type: `INT${bits}` }
    return { key: layer.node, value: { ...NONE, ...factors, ...weightFactors(model, layer, choices) } }
  })
  return { record, prune_record: [] }
}

const NONE: AmctLayerRecord = {
  scale_w: [],
  offset_w: [],
  shift_bit: [],
  tensor_balance_factor: [],
  scale_r: [],
  offset_r: [],
  cluster: [],
  prune_producer: [],
  prune_consumer: [],
}

function weightFactors(model: Model, layer: AmctLayer, choices: QuantizationChoices): Partial<AmctLayerRecord> {
  const weight = layer.weight === undefined ? undefined : model.graph.initializers.get(layer.weight)
  if (!weight) return {}
  const node = model.graph.nodes.find(({ name }) => name === layer.node)!
  const { bits = 8, perChannel = layer.facts?.channelWise ?? false } = choices.layers.get(layer.node) ?? {}
  const type = bits === 4 ? 'int4' : 'int8'
  const axis = perChannel ? weightAxis(node, weight) : null
  const { scale, zeroPoint } = weightQuantization(weight, { type, bits, axis, algorithm: 'arq' })
  return { scale_w: scale, offset_w: zeroPoint, wts_type: `INT${bits}` }
}
