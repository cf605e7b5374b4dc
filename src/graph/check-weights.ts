/** Attributes and weight shapes of the operators that compression works on. */
import type { Tensor } from '../tensor/index.ts'
import type { Problem } from './check.ts'
import type { GraphIndex } from './graph-index.ts'
import type { Attribute, Node } from './model.ts'
import { weightFactsOf } from './operators.ts'

const CONVOLUTION = {
  auto_pad: 'string',
  dilations: 'ints',
  group: 'int',
  kernel_shape: 'ints',
  pads: 'ints',
  strides: 'ints',
} as const

/** The kind of each attribute. Source: ONNX docs/Operators.md. */
const ATTRIBUTE_KINDS: Readonly<Record<string, Readonly<Record<string, Attribute['kind']>>>> = {
  Conv: CONVOLUTION,
  ConvTranspose: { ...CONVOLUTION, output_padding: 'ints', output_shape: 'ints' },
  Gemm: { alpha: 'float', beta: 'float', transA: 'int', transB: 'int', broadcast: 'int' },
  BatchNormalization: { epsilon: 'float', momentum: 'float', training_mode: 'int', spatial: 'int' },
}

const ints = (node: Node, name: string): number[] | undefined => {
  const attribute = node.attributes.get(name)
  return attribute?.kind === 'ints' ? attribute.value.map(Number) : undefined
}

/** Problems of one node; none for operators without rules here. */
export function checkWeightNode(node: Node, index: GraphIndex): Problem[] {
  if (node.domain !== '' || !Object.hasOwn(ATTRIBUTE_KINDS, node.opType)) return []
  const problems: Problem[] = []
  const report = (code: Problem['code'], message: string): void => {
    problems.push({ code, message: `${node.opType} '${node.name}': ${message}`, node: node.name })
  }
  for (const [name, kind] of Object.entries(ATTRIBUTE_KINDS[node.opType]!)) {
    const attribute = node.attributes.get(name)
    if (attribute && attribute.kind !== kind && attribute.kind !== 'other')
      report('BAD_ATTRIBUTE', `attribute '${name}' must be of type ${kind}; it is ${attribute.kind}.`)
  }
  const facts = weightFactsOf(node)
  if (problems.length > 0 || !facts) return problems
  const weight = index.constant(node.inputs[facts.weightInput] ?? '')
  const bias = facts.biasInput === undefined ? undefined : index.constant(node.inputs[facts.biasInput] ?? '')
  if (!weight) return problems
  if (facts.kind === 'linear') {
    if (weight.shape.length !== 2)
      report('BAD_WEIGHT', `its weight must have 2 axes; it has shape [${weight.shape.join(', ')}].`)
  } else checkConvolution(node, weight, bias, facts.kind === 'transposed-convolution', report)
  return problems
}

function checkConvolution(
  node: Node,
  weight: Tensor,
  bias: Tensor | undefined,
  transposed: boolean,
  report: (code: Problem['code'], message: string) => void,
): void {
  const { shape } = weight
  const shown = `[${shape.join(', ')}]`
  if (shape.length < 3) {
    report('BAD_WEIGHT', `its weight must have at least 3 axes; it has shape ${shown}.`)
    return
  }
  const axes = shape.length - 2
  const lengths = { kernel_shape: axes, strides: axes, dilations: axes, pads: 2 * axes }
  for (const [name, length] of Object.entries(lengths)) {
    const values = ints(node, name)
    if (!values) continue
    const least = name === 'pads' ? Number.NEGATIVE_INFINITY : 1
    if (values.length !== length || values.some((value) => value < least))
      report(
        'BAD_ATTRIBUTE',
        `attribute '${name}' must have ${length} numbers${name === 'pads' ? '' : ' of at least 1'} for a weight ${shown}; got [${values.join(', ')}].`,
      )
  }
  const kernel = ints(node, 'kernel_shape')
  if (kernel?.length === axes && kernel.some((extent, axis) => extent !== shape[axis + 2]))
    report('BAD_WEIGHT', `its weight ${shown} must end with kernel_shape; that is [${kernel.join(', ')}].`)
  const attribute = node.attributes.get('group')
  const group = attribute?.kind === 'int' ? Number(attribute.value) : 1
  if (group < 1 || shape[0]! % group !== 0) {
    report('BAD_ATTRIBUTE', `attribute 'group' must divide the first axis of its weight ${shown}; it is ${group}.`)
    return
  }
  const outputs = transposed ? shape[1]! * group : shape[0]!
  if (bias && bias.size !== outputs)
    report('BAD_WEIGHT', `its bias must have ${outputs} numbers; it has shape [${bias.shape.join(', ')}].`)
}
