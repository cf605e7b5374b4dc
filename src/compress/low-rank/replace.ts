/** Puts a chain of stages in a site's place: nodes, attributes and initializers. */
import {
  type AttributeInput,
  createNode,
  float,
  floatAttribute,
  type Graph,
  GraphIndex,
  intAttribute,
  type Model,
  type NameGenerator,
  type Node,
} from '../../graph/index.ts'
import { type DType, fromNumbers, type Tensor, toFloat64 } from '../../tensor/index.ts'
import type { Site } from '../sites.ts'
import { stageOperator } from './kernel.ts'
import { trainNodes } from './replace-train.ts'
import type { Stage } from './stage.ts'

/** One stage with its weight. */
export interface WeightedStage {
  readonly stage: Stage
  /** Name of the initializer. */
  readonly name: string
  readonly weight: Tensor
}

/** The name of a stage's weight: `conv1.weight` becomes `conv1.first.weight`, `w` becomes `w.first`. */
export function stageWeightName(weightName: string, role: string): string {
  return weightName.endsWith('.weight')
    ? `${weightName.slice(0, -'.weight'.length)}.${role}.weight`
    : `${weightName}.${role}`
}

/** The name of a bias where there was none: `conv1.weight` has `conv1.last.bias`, `w` has `w.last.bias`. */
function addedBiasName(weightName: string): string {
  return `${weightName.endsWith('.weight') ? weightName.slice(0, -'.weight'.length) : weightName}.last.bias`
}

/** Gemm's bias is optional from this opset on. Source: ONNX operator Gemm, version 11. */
const OPTIONAL_GEMM_BIAS = 11

/**
 * Replaces a site's node by its chain, in place; the last stage keeps the output's name and takes the bias.
 *
 * @param biasShift `[out]`, added to the bias, which then gets a name of its own.
 * @returns the name of the shifted bias.
 */
export function replaceSite(
  { graph, opsets }: Pick<Model, 'graph' | 'opsets'>,
  site: Site,
  chain: readonly WeightedStage[],
  names: NameGenerator,
  biasShift: Float64Array | undefined,
): string | undefined {
  const position = graph.nodes.findIndex((node) => node.name === site.name)
  const shifted = biasShift && shiftedBias(graph, site, biasShift, names)
  const bias = shifted ?? site.biasName
  const opset = opsets.get('') ?? 1
  const nodes = chain[0]?.stage.between
    ? trainNodes(graph, opset, site, chain, names, bias)
    : chainNodes(graph, opset, site, chain, names, bias)
  graph.nodes.splice(position, 1, ...nodes)
  return shifted
}

function chainNodes(
  graph: Graph,
  opset: number,
  site: Site,
  chain: readonly WeightedStage[],
  names: NameGenerator,
  bias: string | undefined,
): Node[] {
  const output = site.node.outputs[0]!
  let value = site.node.inputs[0]!
  return chain.map(({ stage, name, weight }, index): Node => {
    graph.initializers.set(name, weight)
    const isLast = index === chain.length - 1
    const result = isLast ? output : names.fresh(`${output}.${stage.role}`)
    let addend = isLast ? bias : undefined
    if (addend === undefined && site.op === 'Gemm' && opset < OPTIONAL_GEMM_BIAS)
      addend = zeros(graph, stage.outputs, weight.dtype, names.fresh(`${name}.zero`))
    const node =
      site.kind === 'linear'
        ? linearNode(site, stage, [value, name], addend, result)
        : convolutionNode(site, stage, [value, name], addend, result)
    node.name = names.fresh(`${site.name}.${stage.role}`)
    value = result
    return node
  })
}

function zeros(graph: Graph, count: number, dtype: DType, name: string): string {
  graph.initializers.set(name, fromNumbers(new Float64Array(count), [count], dtype))
  return name
}

/** Removes the original weights of replaced sites that nothing uses any more. */
export function dropUnusedInitializers(graph: Graph, candidates: Iterable<string>): void {
  const index = new GraphIndex(graph)
  for (const name of candidates)
    if (index.users(name).length === 0 && !index.isOutput(name)) {
      graph.initializers.delete(name)
      graph.initializerNotes.delete(name)
      graph.valueInfos.delete(name)
    }
}

function convolutionNode(site: Site, stage: Stage, inputs: string[], bias: string | undefined, output: string): Node {
  const { carries } = stage
  const pick = (values: readonly number[], otherwise: number): number[] =>
    values.map((value, axis) => (carries[axis % carries.length] ? value : otherwise))
  const carriesAny = carries.some((own) => own)
  const transposed = stageOperator(site, stage) === 'ConvTranspose'
  const automatic = carriesAny && site.autoPad !== 'NOTSET' && site.autoPad !== ''
  const attributes: Record<string, AttributeInput | undefined> = {
    kernel_shape: pick(site.kernel, 1),
    strides: pick(site.strides, 1),
    dilations: pick(site.dilations, 1),
    group: stage.depthwise ? site.group * stage.outputs : site.group,
    auto_pad: automatic ? site.autoPad : undefined,
    pads: automatic ? undefined : pick(site.pads, 0),
    output_padding: transposed ? pick(site.outputPadding ?? [], 0) : undefined,
    output_shape: transposed ? site.fixedOutput : undefined,
  }
  return createNode(stageOperator(site, stage), bias === undefined ? inputs : [...inputs, bias], [output], attributes)
}

function linearNode(site: Site, stage: Stage, inputs: string[], bias: string | undefined, output: string): Node {
  if (site.op === 'MatMul') return createNode('MatMul', inputs, [output])
  const transB = site.weightIsOutputFirst ? 1 : 0
  const all = bias === undefined ? inputs : [...inputs, bias]
  if (stage.role === 'first')
    return createNode('Gemm', all, [output], { transA: intAttribute(site.node, 'transA', 0), transB })
  return createNode('Gemm', all, [output], {
    transB,
    alpha: float(floatAttribute(site.node, 'alpha', 1)),
    beta: float(floatAttribute(site.node, 'beta', 1)),
  })
}

/** Whether a constant can be added to the site's outputs through its bias. */
export function canShiftBias(site: Site): boolean {
  // A Gemm's bias may also be one number, one per row [m, 1] or one per element.
  if (site.biasName !== undefined && (site.bias?.size !== site.outputs || site.bias.shape.at(-1) !== site.outputs))
    return false
  if (site.kind !== 'linear') return true
  return site.op === 'Gemm' && floatAttribute(site.node, 'alpha', 1) === 1 && floatAttribute(site.node, 'beta', 1) === 1
}

function shiftedBias(graph: Graph, site: Site, shift: Float64Array, names: NameGenerator): string {
  const before = site.bias ? toFloat64(site.bias) : undefined
  const values = shift.map((value, i) => value + (before?.[i] ?? 0))
  const name = names.fresh(site.biasName === undefined ? addedBiasName(site.weightName) : `${site.biasName}.fitted`)
  graph.initializers.set(name, fromNumbers(values, site.bias?.shape ?? [site.outputs], site.weight.dtype))
  return name
}
