/**
 * What to do with a node when its model moves to a later version of the standard operator set.
 *
 * Only changes that alter what a node means have a rule; those that added element types or attributes with a neutral
 * default need none. Source: ONNX docs/Changelog.md, versions 8 to 21.
 */
import { type DType, fromNumbers, isFloat, Tensor, toFloat64 } from '../../tensor/index.ts'
import { floatAttribute, intAttribute, intsAttribute, makeAttribute, stringAttribute } from '../attributes.ts'
import { createNode } from '../builder.ts'
import type { Node } from '../model.ts'

/** What a rule may ask and add; `constant`, `dtype` and `rank` say `undefined` for what the model does not tell. */
export interface UpgradeContext {
  constant(name: string | undefined): Tensor | undefined
  dtype(name: string): DType | undefined
  rank(name: string): number | undefined
  /** Whether anything reads a value. */
  isUsed(name: string): boolean
  /** Adds an initializer to the node's graph and returns its name. */
  addConstant(tensor: Tensor, hint: string): string
  fresh(hint: string): string
}

/** Edits the node, or returns nodes to stand in its place, or a sentence that says why it cannot be upgraded. */
export type Upgrade = (node: Node, context: UpgradeContext) => readonly Node[] | string | undefined

/** Takes an attribute away from a node. */
function take<T>(node: Node, name: string, read: () => T): T {
  const value = read()
  node.attributes.delete(name)
  return value
}

const takeInts = (node: Node, name: string): number[] | undefined =>
  take(node, name, () => intsAttribute(node, name, undefined))

/** Sets inputs from `first` on, leaving out trailing ones that are absent. */
function setInputs(node: Node, first: number, inputs: readonly (string | undefined)[]): void {
  const all = [...node.inputs.slice(0, first), ...inputs.map((name) => name ?? '')]
  while (all.length > first && all[all.length - 1] === '') all.pop()
  node.inputs = all
}

/** An attribute that became the second input. */
function attributeToInput(attribute: string): Upgrade {
  return (node, context) => {
    const values = takeInts(node, attribute)
    if (values) setInputs(node, 1, [context.addConstant(Tensor.int64(values), `${node.name}_${attribute}`)])
    return undefined
  }
}

function scalar(node: Node, value: number, hint: string, context: UpgradeContext): string | undefined {
  const dtype = context.dtype(node.inputs[0]!)
  if (!dtype || !isFloat(dtype)) return undefined
  return context.addConstant(fromNumbers(Float64Array.of(value), [], dtype), `${node.name}_${hint}`)
}

const unknownType = (node: Node): string =>
  `${node.opType} '${node.name}': its bounds become inputs of the type of '${node.inputs[0]}', which the model does not tell.`

const clip11: Upgrade = (node, context) => {
  const bounds: (string | undefined)[] = []
  for (const name of ['min', 'max']) {
    const value = take(node, name, () => floatAttribute(node, name, undefined))
    const input = value === undefined ? undefined : scalar(node, value, name, context)
    if (value !== undefined && input === undefined) return unknownType(node)
    bounds.push(input)
  }
  setInputs(node, 1, bounds)
  return undefined
}

const pad11: Upgrade = (node, context) => {
  const pads = takeInts(node, 'pads')
  const value = take(node, 'value', () => floatAttribute(node, 'value', 0))
  if (!pads) return `Pad '${node.name}': attribute 'pads' is missing.`
  const fill =
    value !== 0 && stringAttribute(node, 'mode', 'constant') === 'constant' ? scalar(node, value, 'value', context) : ''
  if (fill === undefined) return unknownType(node)
  setInputs(node, 1, [context.addConstant(Tensor.int64(pads), `${node.name}_pads`), fill])
  return undefined
}

const slice10: Upgrade = (node, context) => {
  const constants = ['starts', 'ends', 'axes'].map((name) => {
    const values = takeInts(node, name)
    return values && context.addConstant(Tensor.int64(values), `${node.name}_${name}`)
  })
  if (!constants[0] || !constants[1]) return `Slice '${node.name}': attributes 'starts' and 'ends' are needed.`
  setInputs(node, 1, constants)
  return undefined
}

const topK10: Upgrade = (node, context) => {
  const k = take(node, 'k', () => intAttribute(node, 'k', undefined))
  if (k === undefined) return `TopK '${node.name}': attribute 'k' is missing.`
  setInputs(node, 1, [context.addConstant(Tensor.int64([k]), `${node.name}_k`)])
  return undefined
}

const upsample9: Upgrade = (node, context) => {
  const attribute = node.attributes.get('scales')
  if (attribute?.kind !== 'floats') return `Upsample '${node.name}': attribute 'scales' is missing.`
  node.attributes.delete('scales')
  const scales = Tensor.of(Float32Array.from(attribute.value), [attribute.value.length])
  setInputs(node, 1, [context.addConstant(scales, `${node.name}_scales`)])
  return undefined
}

const upsample10: Upgrade = (node) => {
  node.opType = 'Resize'
  return undefined
}

/** Until opset 10, nearest resizing rounded down when it enlarged and up when it shrank. */
const resize11: Upgrade = (node, context) => {
  const nearest = stringAttribute(node, 'mode', 'nearest') === 'nearest'
  const [data = '', scalesInput] = node.inputs
  node.inputs = [data, '', scalesInput ?? '']
  node.attributes.set('coordinate_transformation_mode', makeAttribute('asymmetric'))
  if (!nearest) return undefined
  const scales = context.constant(scalesInput)
  if (!scales) return `${node.opType} '${node.name}': its rounding depends on scales that are not constant.`
  const values = [...toFloat64(scales)]
  if (values.some((scale) => scale < 1) && values.some((scale) => scale > 1))
    return `${node.opType} '${node.name}': it enlarges one axis and shrinks another, which rounded differently.`
  node.attributes.set('nearest_mode', makeAttribute(values.some((scale) => scale < 1) ? 'ceil' : 'floor'))
  return undefined
}

/**
 * Softmax used to run over all axes from `axis` on, flattened; since opset 13 it runs over one. Where `axis` is known
 * to be the last both agree, elsewhere the flattening is written out.
 */
const softmax13: Upgrade = (node, context) => {
  const axis = intAttribute(node, 'axis', 1)
  const [data = ''] = node.inputs
  const rank = context.rank(data)
  node.attributes.set('axis', makeAttribute(-1))
  if (axis === -1 || (rank !== undefined && axis === rank - 1)) return undefined
  const [output = ''] = node.outputs
  const flat = context.fresh(`${output}_flat`)
  const result = context.fresh(`${output}_softmax`)
  const shape = context.fresh(`${output}_shape`)
  node.inputs = [flat]
  node.outputs = [result]
  const name = (part: string): string => context.fresh(`${node.name}_${part}`)
  return [
    createNode('Flatten', [data], [flat], { axis }, name('flatten')),
    node,
    createNode('Shape', [data], [shape], {}, name('shape')),
    createNode('Reshape', [result, shape], [output], {}, name('reshape')),
  ]
}

const dropout10: Upgrade = (node, context) => {
  const [output = '', mask = ''] = node.outputs
  if (mask !== '' && context.isUsed(mask)) return `Dropout '${node.name}': its mask changed from numbers to booleans.`
  node.outputs = [output]
  return undefined
}

const dropout12: Upgrade = (node, context) => {
  const ratio = take(node, 'ratio', () => floatAttribute(node, 'ratio', undefined))
  if (ratio !== undefined)
    setInputs(node, 1, [context.addConstant(Tensor.of(Float32Array.of(ratio), []), `${node.name}_ratio`)])
  return undefined
}

const batchNormalization9: Upgrade = (node) => {
  const spatial = take(node, 'spatial', () => intAttribute(node, 'spatial', 1))
  return spatial === 1 ? undefined : `BatchNormalization '${node.name}': statistics per position (spatial = 0) ended.`
}

const batchNormalization14: Upgrade = (node) =>
  node.outputs.slice(1).some((name) => name !== '')
    ? `BatchNormalization '${node.name}': its outputs for training changed.`
    : undefined

/** Until opset 17 the number of outputs alone told that a Split without sizes has equal parts. */
const split18: Upgrade = (node) => {
  if ((node.inputs[1] ?? '') === '') node.attributes.set('num_outputs', makeAttribute(node.outputs.length))
  return undefined
}

/** Since opset 18 exactly one of scales and sizes may be there; before, scales could also be an empty tensor. */
const resize18: Upgrade = (node, context) => {
  if ((node.inputs[3] ?? '') === '' || (node.inputs[2] ?? '') === '') return undefined
  if (context.constant(node.inputs[2])?.size !== 0) return `Resize '${node.name}': it has both scales and sizes.`
  node.inputs[2] = ''
  return undefined
}

/** Interpolation modes lost the part of their names that told the number of axes. */
const gridSample20: Upgrade = (node) => {
  const mode = stringAttribute(node, 'mode', 'bilinear')
  const renamed: Readonly<Record<string, string>> = { bilinear: 'linear', bicubic: 'cubic' }
  node.attributes.set('mode', makeAttribute(renamed[mode] ?? mode))
  return undefined
}

const refuse =
  (change: string): Upgrade =>
  (node) =>
    `${node.opType} '${node.name}': ${change}`

const axes18 = { 18: attributeToInput('axes') }

/** Rules by operator and by the version that changed it. */
export const UPGRADES: Readonly<Record<string, Readonly<Record<number, Upgrade>>>> = {
  BatchNormalization: { 9: batchNormalization9, 14: batchNormalization14 },
  Clip: { 11: clip11 },
  DFT: { 20: refuse('its axis became an input.') },
  Dropout: { 10: dropout10, 12: dropout12 },
  GridSample: { 20: gridSample20 },
  GroupNormalization: { 21: refuse('its scale and bias changed from groups to channels.') },
  Hardmax: { 13: softmax13 },
  LogSoftmax: { 13: softmax13 },
  Pad: { 11: pad11 },
  ReduceL1: axes18,
  ReduceL2: axes18,
  ReduceLogSum: axes18,
  ReduceLogSumExp: axes18,
  ReduceMax: axes18,
  ReduceMean: axes18,
  ReduceMin: axes18,
  ReduceProd: axes18,
  ReduceSum: { 13: attributeToInput('axes') },
  ReduceSumSquare: axes18,
  Resize: { 11: resize11, 18: resize18 },
  RoiAlign: {
    16: (node) => {
      node.attributes.set('coordinate_transformation_mode', makeAttribute('output_half_pixel'))
      return undefined
    },
  },
  Scan: { 9: (node) => `Scan '${node.name}': its form before opset 9 has no equal.` },
  Scatter: {
    11: (node) => {
      node.opType = 'ScatterElements'
      return undefined
    },
  },
  Slice: { 10: slice10 },
  Softmax: { 13: softmax13 },
  Split: { 13: attributeToInput('split'), 18: split18 },
  Squeeze: { 13: attributeToInput('axes') },
  TopK: { 10: topK10 },
  Unsqueeze: { 13: attributeToInput('axes') },
  Upsample: { 9: upsample9, 10: upsample10 },
}
