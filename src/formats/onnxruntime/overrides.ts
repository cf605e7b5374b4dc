/**
 * ONNX Runtime's `TensorQuantOverrides`: how single tensors are quantized, as the JSON of what
 * `onnxruntime.quantization` takes under that name in `extra_options`.
 *
 * `{ tensor: [ { axis, quant_type, scale, zero_point, rmin, rmax, symmetric, reduce_range, convert } ] }`; a list of one
 * without `axis` is for the whole tensor, otherwise there is one entry for all channels or one for each.
 */
import type { IntegerType } from '../../compress/index.ts'
import { fail } from '../../core/index.ts'
import type { Model } from '../../graph/index.ts'
import { checkObject, type JsonFields, type JsonObjectOf, readObject } from '../json/fields.ts'
import { printBlock, printObject } from '../json/print-json.ts'
import { type JsonMap, type JsonValue, readJson, showJson } from '../json/read-json.ts'
import { codeSource, refuseAt, type TextSource } from '../source.ts'

/** Types of `onnxruntime.quantization.QuantType`, with ours; `null` where there is none. */
export const QUANT_TYPES = {
  QInt8: 'int8',
  QUInt8: 'uint8',
  QFLOAT8E4M3FN: null,
  QInt16: 'int16',
  QUInt16: 'uint16',
  QInt4: 'int4',
  QUInt4: 'uint4',
} as const satisfies Record<string, IntegerType | null>

/** A name of `QuantType`. */
export type QuantTypeName = keyof typeof QUANT_TYPES

const QUANT_TYPE_NAMES = Object.keys(QUANT_TYPES) as readonly QuantTypeName[]

const COMMON = {
  quant_type: { kind: 'word', words: QUANT_TYPE_NAMES },
  scale: { kind: 'float', rule: { holds: (x) => x > 0, words: 'above 0' } },
  zero_point: { kind: 'integer' },
  rmin: { kind: 'float' },
  rmax: { kind: 'float' },
  symmetric: { kind: 'bool' },
  reduce_range: { kind: 'bool' },
} as const satisfies JsonFields

const OVERRIDE_FIELDS = {
  axis: { kind: 'integer' },
  ...COMMON,
  convert: { kind: 'object', fields: { ...COMMON, recv_nodes: { kind: 'texts' } } },
} as const satisfies JsonFields

/** How one tensor, or one channel of it, is quantized. */
export type TensorOverride = JsonObjectOf<typeof OVERRIDE_FIELDS>

/** Overrides by name of the tensor. */
export type TensorQuantOverrides = ReadonlyMap<string, readonly TensorOverride[]>

/** Overrides that were read, and the places of what is in them. */
export interface ReadOverrides {
  readonly config: TensorQuantOverrides
  readonly source: TextSource
}

/** Integers that a type holds; `undefined` for floats. */
const LIMITS: Readonly<Record<string, readonly [number, number]>> = {
  QInt8: [-128, 127],
  QUInt8: [0, 255],
  QInt16: [-32768, 32767],
  QUInt16: [0, 65535],
  QInt4: [-8, 7],
  QUInt4: [0, 15],
}

type Refuse = (holder: object, key: string, message: string) => never

/** Rules on one set of options, of a tensor or of its `convert`. */
function checkOptions(options: Omit<TensorOverride, 'axis' | 'convert'>, refuse: Refuse): void {
  const hasScale = options.scale !== undefined
  if (hasScale !== (options.zero_point !== undefined))
    refuse(options, hasScale ? 'scale' : 'zero_point', "'scale' and 'zero_point' must be given together.")
  if (hasScale) {
    const foreign = (['symmetric', 'reduce_range', 'rmax', 'rmin'] as const).find((key) => options[key] !== undefined)
    if (foreign) refuse(options, foreign, `'${foreign}' cannot stand beside 'scale' and 'zero_point'.`)
  }
  const limits = LIMITS[options.quant_type ?? '']
  const zeroPoint = options.zero_point ?? 0
  if (limits && (zeroPoint < limits[0] || zeroPoint > limits[1]))
    refuse(
      options,
      'zero_point',
      `'zero_point' of ${options.quant_type} must be from ${limits[0]} to ${limits[1]}; got ${zeroPoint}.`,
    )
  if (options.rmin !== undefined && options.rmax !== undefined && options.rmin > options.rmax)
    refuse(options, 'rmin', `'rmin' must be at most 'rmax', ${options.rmax}; got ${options.rmin}.`)
}

/** Rules that the channels of one tensor have to keep together. */
function checkChannels(list: readonly TensorOverride[], refuse: Refuse): void {
  const first = list[0]!
  if (first.axis === undefined)
    refuse(first, 'axis', "the first of several entries, one per channel, must have an 'axis'.")
  if ((first.rmin === undefined) !== (first.rmax === undefined))
    refuse(first, first.rmin === undefined ? 'rmax' : 'rmin', "'rmin' and 'rmax' of channels must be given together.")
  for (const channel of list) {
    if (channel.convert) refuse(channel, 'convert', "'convert' is for activations; this tensor has channels.")
    for (const key of ['quant_type', 'symmetric', 'reduce_range', 'axis'] as const)
      if (channel[key] !== undefined && channel[key] !== first[key])
        refuse(
          channel,
          key,
          `'${key}' must be the same for all channels: the first has ${first[key] ?? 'none'}, this one ${channel[key]}.`,
        )
    for (const key of ['scale', 'rmin'] as const)
      if (first[key] !== undefined && channel[key] === undefined)
        refuse(channel, key, `every channel must have '${key}', because the first has it.`)
    checkOptions({ ...channel, quant_type: first.quant_type ?? channel.quant_type } as TensorOverride, refuse)
  }
}

function checkTensor(list: readonly TensorOverride[], refuse: Refuse): void {
  const [first] = list
  if (first === undefined || list.every((each) => Object.keys(each).length === 0)) return
  if (list.length > 1 || first.axis !== undefined) {
    checkChannels(list, refuse)
    return
  }
  checkOptions(first, refuse)
  const { convert } = first
  if (!convert) return
  if (convert.quant_type === undefined) throw refuse(first, 'convert', "'convert' must have a 'quant_type'.")
  if (convert.quant_type === first.quant_type)
    refuse(convert, 'quant_type', `'quant_type' of 'convert' must be another than the tensor's, ${first.quant_type}.`)
  if (convert.reduce_range !== undefined) refuse(convert, 'reduce_range', "'reduce_range' is for weights only.")
  checkOptions(convert, refuse)
}

/**
 * Checks overrides against a model: names, and what weights and activations may have.
 *
 * All of ONNX Runtime's rules (its `TensorQuantOverridesHelper.is_valid`), for every tensor; it looks at the first only.
 *
 * @param source places, as the reader gave them; default none.
 * @throws WhittleError `INVALID_FILE` with the place of what is wrong.
 */
export function checkTensorQuantOverrides(
  overrides: TensorQuantOverrides,
  model: Model,
  source: TextSource = codeSource('TensorQuantOverrides'),
): void {
  const { graph } = model
  const values = new Set([...graph.inputs.map(({ name }) => name), ...graph.nodes.flatMap(({ outputs }) => outputs)])
  for (const [name, list] of overrides) {
    const weight = graph.initializers.get(name)
    if (!weight && !values.has(name)) refuseAt(source, overrides, name, `tensor '${name}' does not exist in the model.`)
    const [first] = list
    if (first === undefined || Object.keys(first).length === 0) continue
    const refuse = (key: string, message: string): never => refuseAt(source, first, key, `tensor '${name}': ${message}`)
    if (!weight && first.reduce_range !== undefined)
      refuse('reduce_range', "'reduce_range' is for weights; this is an activation.")
    if (weight && first.convert) refuse('convert', "'convert' is for activations; this is a weight.")
    if (list.length < 2 && first.axis === undefined) continue
    if (!weight) throw refuse('axis', 'channels are for weights; this is an activation.')
    const rank = weight.shape.length
    const axis = first.axis ?? 0
    if (axis < -rank || axis >= rank) refuse('axis', `'axis' must be from ${-rank} to ${rank - 1}; got ${axis}.`)
    const channels = weight.shape[axis < 0 ? axis + rank : axis]!
    if (list.length > 1 && list.length !== channels)
      refuse('axis', `axis ${axis} of shape [${weight.shape.join(', ')}] has ${channels} channels, not ${list.length}.`)
  }
}

/** `QuantType.QInt8` and the number 0 are other ways to write `QInt8`. */
function withTypeNames(map: JsonMap, source: TextSource): JsonMap {
  const renamed = new Map<string, JsonValue>()
  for (const [key, value] of map) {
    let each = value
    if (key === 'quant_type' && typeof value === 'string') each = value.replace(/^QuantType\./, '')
    if (key === 'quant_type' && typeof value === 'number') each = QUANT_TYPE_NAMES[value] ?? value
    if (key === 'convert' && value instanceof Map) each = withTypeNames(value, source)
    renamed.set(key, each)
  }
  source.places.set(renamed, source.places.get(map) ?? new Map())
  return renamed
}

/**
 * Reads `TensorQuantOverrides` JSON.
 *
 * @param fileName name for messages.
 * @param model to check names, axes and numbers of channels against; default: the file is checked alone.
 * @throws WhittleError `INVALID_FILE` with `FILE:LINE:COLUMN`.
 */
export function readTensorQuantOverrides(text: string, fileName: string, model?: Model): ReadOverrides {
  const { value, source } = readJson(text, fileName)
  if (!(value instanceof Map)) return refuseAt(source, source, 0, 'TensorQuantOverrides must be a JSON object.')
  const overrides = new Map<string, readonly TensorOverride[]>()
  source.places.set(overrides, source.places.get(value) ?? new Map())
  for (const [name, list] of value) {
    const what = `tensor '${name}'`
    if (!Array.isArray(list) || !list.every((each) => each instanceof Map))
      return refuseAt(source, value, name, `${what} must have a list of objects; got ${showJson(list)}.`)
    const entries = (list as readonly JsonMap[]).map((each) =>
      readObject(OVERRIDE_FIELDS, withTypeNames(each, source), source, what),
    )
    checkTensor(entries, (holder, key, message) => refuseAt(source, holder, key, `${what}: ${message}`))
    overrides.set(name, entries)
  }
  if (model) checkTensorQuantOverrides(overrides, model, source)
  return { config: overrides, source }
}

/**
 * Writes `TensorQuantOverrides` JSON; reading it back gives equal values.
 *
 * @throws WhittleError `INVALID_FILE` for what ONNX Runtime would refuse.
 */
export function writeTensorQuantOverrides(overrides: TensorQuantOverrides): string {
  const members: string[] = []
  for (const [name, list] of overrides) {
    const what = `tensor '${name}'`
    for (const each of list) checkObject(OVERRIDE_FIELDS, each, what)
    checkTensor(list, (_holder, _key, message) => fail('INVALID_FILE', `TensorQuantOverrides: ${what}: ${message}`))
    const items = list.map((each) => `        ${printObject(OVERRIDE_FIELDS, each, '        ')}`)
    members.push(`${JSON.stringify(name)}:[${items.length > 0 ? `\n${items.join(',\n')}\n    ` : ''}]`)
  }
  return printBlock(members)
}
