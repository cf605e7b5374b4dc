/** Between plans of quantization and ONNX Runtime's `TensorQuantOverrides`. */
import {
  type ActivationChoice,
  affineParameters,
  INTEGER_TYPES,
  type IntegerType,
  type LayerChoice,
  type Quantization,
  type QuantizePlan,
  type Range,
} from '../../compress/index.ts'
import { GraphIndex, type Model } from '../../graph/index.ts'
import type { Tensor } from '../../tensor/index.ts'
import { NO_CHOICES, type QuantizationChoices } from '../choices.ts'
import { codeSource, refuseAt, type TextSource } from '../source.ts'
import {
  checkTensorQuantOverrides,
  QUANT_TYPES,
  type QuantTypeName,
  type TensorOverride,
  type TensorQuantOverrides,
} from './overrides.ts'

const TYPE_NAMES: Readonly<Record<IntegerType, QuantTypeName>> = {
  int8: 'QInt8',
  uint8: 'QUInt8',
  int16: 'QInt16',
  uint16: 'QUInt16',
  int4: 'QInt4',
  uint4: 'QUInt4',
}

function overridesOf({ type, scale, zeroPoint, axis }: Quantization): TensorOverride[] {
  const quant_type = TYPE_NAMES[type]
  return scale.map((each, channel) => ({
    ...(axis === null ? {} : { axis }),
    quant_type,
    scale: each,
    zero_point: zeroPoint[channel]!,
  }))
}

/**
 * The overrides that make `onnxruntime.quantization` quantize as a plan says: type, scale and zero point of every
 * activation and weight, weights per channel where the plan has it so. Biases follow from them.
 */
export function overridesFromPlan(plan: QuantizePlan): TensorQuantOverrides {
  const overrides = new Map<string, readonly TensorOverride[]>()
  for (const { tensor, quantization } of plan.activations) overrides.set(tensor, overridesOf(quantization))
  for (const { weight, constants = [] } of plan.steps)
    for (const constant of weight ? [weight, ...constants] : constants)
      overrides.set(constant.tensor, overridesOf(constant.quantization))
  return overrides
}

interface Given {
  readonly list: readonly TensorOverride[]
  readonly type: IntegerType | undefined
  readonly name: string
}

/** Scales and zero points of a weight where the file has them or ranges to compute them from. */
function weightQuantization({ list, type = 'int8' }: Given, weight: Tensor): Quantization | undefined {
  const first = list[0]!
  const rank = weight.shape.length
  const axis = first.axis === undefined ? null : first.axis < 0 ? first.axis + rank : first.axis
  const channels = axis === null ? 1 : weight.shape[axis]!
  const bits = first.reduce_range === true ? INTEGER_TYPES[type].bits - 1 : INTEGER_TYPES[type].bits
  const symmetric = first.symmetric ?? INTEGER_TYPES[type].signed
  const found: { scale: number; zeroPoint: number }[] = []
  for (let channel = 0; channel < channels; channel++) {
    const each = list.length === 1 ? first : list[channel]!
    if (each.scale !== undefined) found.push({ scale: Math.fround(each.scale), zeroPoint: each.zero_point! })
    else if (each.rmin !== undefined && each.rmax !== undefined)
      found.push(affineParameters({ min: each.rmin, max: each.rmax }, { type, bits, symmetric }))
    else return undefined
  }
  return {
    type,
    bits,
    scale: found.map(({ scale }) => scale),
    zeroPoint: found.map(({ zeroPoint }) => zeroPoint),
    axis,
  }
}

function activationChoice({ list, type }: Given): ActivationChoice {
  const [first] = list
  if (first?.scale === undefined) return { type, symmetric: first?.symmetric }
  const stored = type ?? 'uint8'
  const { bits } = INTEGER_TYPES[stored]
  return {
    quantization: { type: stored, bits, scale: [Math.fround(first.scale)], zeroPoint: [first.zero_point!], axis: null },
  }
}

function layerChoice(given: Given, weight: Tensor): LayerChoice {
  const quantization = weightQuantization(given, weight)
  if (quantization) return { quantization }
  const { list, type } = given
  const bits = list[0]?.reduce_range === true ? INTEGER_TYPES[type ?? 'int8'].bits - 1 : undefined
  return { type, bits, perChannel: list[0]?.axis === undefined ? undefined : true }
}

/**
 * What overrides ask of quantization.
 *
 * @param model prepared for quantization.
 * @param source places, as the reader gave them; default none.
 * @throws WhittleError `INVALID_FILE` with the place of a tensor that does not exist or that is quantized to floats of
 *   8 bits, which is not supported.
 */
export function choicesFromOverrides(
  overrides: TensorQuantOverrides,
  model: Model,
  source: TextSource = codeSource('TensorQuantOverrides'),
): QuantizationChoices {
  checkTensorQuantOverrides(overrides, model, source)
  const index = new GraphIndex(model.graph)
  const layers = new Map<string, LayerChoice>()
  const tensors = new Map<string, ActivationChoice>()
  const ranges = new Map<string, Range>()
  const warnings: string[] = []
  for (const [name, list] of overrides) {
    const [first] = list
    if (first === undefined || Object.keys(first).length === 0) continue
    const type = first.quant_type === undefined ? undefined : QUANT_TYPES[first.quant_type]
    if (type === null)
      return refuseAt(source, first, 'quant_type', `tensor '${name}': floats of 8 bits are not supported.`)
    if (first.convert)
      warnings.push(`Tensor '${name}': 'convert' to ${first.convert.quant_type} is left out; one type is used for all.`)
    const given = { list, type, name }
    const weight = model.graph.initializers.get(name)
    if (weight) {
      for (const node of index.users(name)) layers.set(node.name, layerChoice(given, weight))
      continue
    }
    tensors.set(name, activationChoice(given))
    if (first.rmin !== undefined && first.rmax !== undefined) ranges.set(name, { min: first.rmin, max: first.rmax })
  }
  return { ...NO_CHOICES, layers, tensors, ranges, warnings }
}
