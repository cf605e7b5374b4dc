/**
 * Between plans of quantization and AMCT's record.
 *
 * AMCT stores q = round(x / scale) + offset in signed integers. Unsigned ones with zero point z are the same integers
 * shifted: offset = z − 2ⁿ⁻¹.
 */
import {
  type ActivationStep,
  type BalanceRecord,
  type IntegerType,
  QUANTIZE_PLAN_VERSION,
  type Quantization,
  type QuantizePlan,
  type QuantizeStep,
  rangeOf,
  type Skip,
  weightAxis,
} from '../../compress/index.ts'
import { fail } from '../../core/index.ts'
import { type Model, modelHash, type Node } from '../../graph/index.ts'
import type { Tensor } from '../../tensor/index.ts'
import { NO_CHOICES, type QuantizationChoices } from '../choices.ts'
import { codeSource, refuseAt, type TextSource } from '../source.ts'
import { type ExpandOptions, nameFor } from './expand-calibration.ts'
import { type AmctLayer, type AmctLayers, amctLayers } from './layers.ts'
import { LEAST_SCALE } from './record.ts'
import type { AmctLayerRecord, AmctRecord } from './record-schema.ts'

/** AMCT's name of an integer type, and what makes its offset of a zero point. */
const SIGNED: Readonly<Record<IntegerType, { readonly name: string; readonly shift: number }>> = {
  int4: { name: 'INT4', shift: 0 },
  uint4: { name: 'INT4', shift: -8 },
  int8: { name: 'INT8', shift: 0 },
  uint8: { name: 'INT8', shift: -128 },
  int16: { name: 'INT16', shift: 0 },
  uint16: { name: 'INT16', shift: -32768 },
}

/** Our type of activations that AMCT names. */
const STORED = {
  unsigned: { INT4: 'uint4', INT8: 'uint8', INT16: 'uint16' },
  signed: { INT4: 'int4', INT8: 'int8', INT16: 'int16' },
} as const satisfies Record<string, Record<string, IntegerType>>

const isLegal = (scale: number): boolean => scale >= LEAST_SCALE && scale <= 1 / LEAST_SCALE

/** One layer's record, or why there is none. */
function layerRecord(step: QuantizeStep, activation: ActivationStep | undefined): AmctLayerRecord | string {
  if (!activation) return 'Its input is not quantized.'
  const { type, bits, scale, zeroPoint } = activation.quantization
  const { name, shift } = SIGNED[type]
  if (name !== `INT${bits}`) return `AMCT has no activations of ${bits} bits in ${type}.`
  if (!isLegal(scale[0]!)) return `AMCT allows scales from 2⁻²³ to 2²³; that of its input is ${scale[0]}.`
  const base = { scale_d: scale[0]!, offset_d: zeroPoint[0]! + shift, act_type: name }
  const empty = { shift_bit: [], tensor_balance_factor: [], scale_r: [], offset_r: [], cluster: [] }
  const lists = { ...empty, prune_producer: [], prune_consumer: [] }
  if (!step.weight) return { ...base, ...lists, scale_w: [], offset_w: [] }
  const weight = step.weight.quantization
  if (weight.type !== 'int8' && weight.type !== 'int4') return `AMCT has no weights of type ${weight.type}.`
  if (weight.zeroPoint.some((point) => point !== 0)) return 'AMCT has no weights with zero points.'
  const bad = weight.scale.find((each) => !isLegal(each))
  if (bad !== undefined) return `AMCT allows scales from 2⁻²³ to 2²³; one of its weight's is ${bad}.`
  return { ...base, ...lists, scale_w: weight.scale, offset_w: weight.zeroPoint, wts_type: `INT${weight.bits}` }
}

/**
 * The record of a plan: what AMCT's `convert_model` takes.
 *
 * @param model the one the plan is for.
 * @param options `names`: layers named as nodes (default) or as PyTorch modules. `balanced`: what balancing did to the
 *   model; the record is then for the model before it, with `tensor_balance_factor` and with the scales that weights had
 *   whose outputs took factors up.
 * @returns the record, and the layers that it cannot hold, with the reason. AMCT quantizes inputs of layers only; other
 *   activations of the plan have no place in it.
 */
export function recordFromPlan(
  plan: QuantizePlan,
  model: Model,
  options: Pick<ExpandOptions, 'names'> & { readonly balanced?: BalanceRecord | undefined } = {},
): { readonly record: AmctRecord; readonly skips: readonly Skip[] } {
  const layers = amctLayers(model)
  const activations = new Map(plan.activations.map((step) => [step.tensor, step]))
  const skips: Skip[] = []
  const record: AmctRecord['record'][number][] = []
  for (const step of plan.steps) {
    const layer = layers.find(step.node)
    if (!layer?.facts) continue
    const own = layerRecord(step, activations.get(layer.input))
    const value = typeof own === 'string' ? own : unbalanced(own, step.node, options.balanced)
    if (typeof value === 'string') skips.push({ name: step.node, reason: value })
    else record.push({ key: nameFor(layer, layers, options.names), value })
  }
  return { record: { record, prune_record: [] }, skips }
}

/** A layer's record for the model before it was balanced. */
function unbalanced(
  value: AmctLayerRecord,
  node: string,
  balanced: BalanceRecord | undefined,
): AmctLayerRecord | string {
  let scales = value.scale_w
  for (const { factors } of (balanced?.layers ?? []).filter(
    ({ into, node: taker }) => into === 'layer' && taker === node,
  )) {
    if (scales.length !== factors.length) return 'One scale for its whole weight cannot take up balance factors.'
    scales = scales.map((scale, channel) => Math.fround(scale * factors[channel]!))
  }
  const own = balanced?.layers.find(({ name }) => name === node)
  const factors = own ? own.factors.map(Math.fround) : []
  return { ...value, scale_w: scales, tensor_balance_factor: factors }
}

/** A layer's factors in our terms. */
interface LayerFactors {
  readonly layer: AmctLayer
  readonly node: Node
  readonly activation: Quantization | undefined
  readonly weight: Quantization | undefined
}

function activationOf(value: AmctLayerRecord, store: 'unsigned' | 'signed'): Quantization | undefined {
  if (value.scale_d === undefined) return undefined
  const name = (value.act_type ?? value.dst_type ?? 'INT8') as 'INT4' | 'INT8' | 'INT16'
  const type = STORED[store][name]
  const bits = Number(name.slice(3))
  const zeroPoint = (value.offset_d ?? 0) - SIGNED[type].shift
  return { type, bits, scale: [value.scale_d], zeroPoint: [zeroPoint], axis: null }
}

function weightOf(
  value: AmctLayerRecord,
  node: Node,
  weight: Tensor,
  refuse: (message: string) => never,
): Quantization {
  const bits = Number((value.wts_type ?? 'INT8').slice(3))
  const count = value.scale_w.length
  const axis = count === 1 ? null : weightAxis(node, weight)
  const channels = axis === null ? 1 : weight.shape[axis]!
  if (count !== channels)
    refuse(
      `scale_w must have one scale, or one for each of the ${channels} channels of weight [${weight.shape.join(', ')}]; got ${count}.`,
    )
  return { type: bits === 4 ? 'int4' : 'int8', bits, scale: value.scale_w, zeroPoint: value.offset_w, axis }
}

function factorsOf(
  record: AmctRecord,
  model: Model,
  layers: AmctLayers,
  source: TextSource,
  store: 'unsigned' | 'signed',
): LayerFactors[] {
  const nodes = new Map(model.graph.nodes.map((node) => [node.name, node]))
  return record.record.flatMap((entry): LayerFactors[] => {
    const layer = layers.find(entry.key ?? '')
    const { value } = entry
    if (!layer) return refuseAt(source, entry, 'key', `layer '${entry.key}' does not exist in the model.`)
    if (!value) return []
    const refuse = (key: string, message: string): never =>
      refuseAt(source, value, key, `layer '${entry.key}': ${message}`)
    if (value.tensor_balance_factor.length > 0)
      refuse('tensor_balance_factor', 'balance factors change the weights; balance the model itself (option balance).')
    if (value.shift_bit.some((bit) => bit !== 0))
      refuse('shift_bit', 'products shifted by bits cannot be told in ONNX.')
    const node = nodes.get(layer.node)!
    const weight = layer.weight === undefined ? undefined : model.graph.initializers.get(layer.weight)
    if (value.scale_w.length > 0 && !weight) refuse('scale_w', `a ${layer.type} has no constant weight.`)
    return [
      {
        layer,
        node,
        activation: activationOf(value, store),
        weight:
          weight && value.scale_w.length > 0
            ? weightOf(value, node, weight, (message) => refuse('scale_w', message))
            : undefined,
      },
    ]
  })
}

/** How activations of a record are stored. */
export interface RecordOptions {
  /** Places, as the reader gave them; default none. */
  readonly source?: TextSource | undefined
  /** `unsigned` (default), the type that processors multiply fast, or `signed` as AMCT has it; the numbers are the same. */
  readonly store?: 'unsigned' | 'signed' | undefined
}

/**
 * The plan that a record stands for: its layers, their inputs and weights, and nothing else.
 *
 * @param model prepared for quantization; the plan is for it.
 * @throws WhittleError `INVALID_FILE` with the place of a layer that does not exist, of scales that are not as many as
 *   the weight's channels, and of what a plan cannot hold: balance factors, shifts, two scales for one value.
 */
export function planFromRecord(record: AmctRecord, model: Model, options: RecordOptions = {}): QuantizePlan {
  const source = options.source ?? codeSource('AMCT record')
  const layers = amctLayers(model)
  const activations = new Map<string, ActivationStep>()
  const steps: QuantizeStep[] = []
  for (const { layer, node, activation, weight } of factorsOf(
    record,
    model,
    layers,
    source,
    options.store ?? 'unsigned',
  )) {
    const first = activations.get(layer.input)
    if (activation && first && JSON.stringify(first.quantization) !== JSON.stringify(activation))
      fail(
        'INVALID_FILE',
        `${source.fileName}: layers that read value '${layer.input}' must agree on its scale and offset; '${layer.node}' has others than a layer before it.`,
      )
    if (activation)
      activations.set(layer.input, {
        tensor: layer.input,
        quantization: activation,
        range: rangeOf(activation),
        algorithm: 'given',
      })
    const bias = node.inputs[2]
    steps.push({
      node: layer.node,
      op: node.opType,
      ...(weight ? { weight: { tensor: layer.weight!, quantization: weight, algorithm: 'given' } } : {}),
      ...(weight && bias !== undefined && model.graph.initializers.has(bias) ? { bias } : {}),
    })
  }
  return {
    method: 'quantize',
    version: QUANTIZE_PLAN_VERSION,
    model: modelHash(model),
    seed: 0,
    target: 'custom',
    steps,
    activations: [...activations.values()],
    skips: [],
    warnings: [],
  }
}

/**
 * What a record asks of quantization: its layers with their scales; activations between them are left to calibration.
 *
 * @param model prepared for quantization.
 * @throws WhittleError `INVALID_FILE` as {@link planFromRecord}.
 */
export function choicesFromRecord(record: AmctRecord, model: Model, options: RecordOptions = {}): QuantizationChoices {
  const plan = planFromRecord(record, model, options)
  const named = new Set(plan.steps.map(({ node }) => node))
  const others = amctLayers(model).all.filter((layer) => layer.facts && !named.has(layer.node))
  return {
    ...NO_CHOICES,
    nodes: [...named],
    excluded: new Map(others.map((layer) => [layer.node, 'The record has no entry for it.'])),
    layers: new Map(
      plan.steps.flatMap(({ node, weight }) => (weight ? [[node, { quantization: weight.quantization }]] : [])),
    ),
    tensors: new Map(plan.activations.map(({ tensor, quantization }) => [tensor, { quantization }])),
  }
}
