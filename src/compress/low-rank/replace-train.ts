/**
 * Nodes of a train of matrices: reshapes and matrix products, and no transposition.
 *
 * The features `[rows, n_1 · n_2 · n_3]` are `[rows, n_1, n_2 n_3]`; the first core, as `[m_1 r_1, n_1]` from the left,
 * makes them `[rows, m_1 r_1, n_2 n_3]`, which is `[rows · m_1, r_1 n_2, n_3]` in memory: what the next core wants.
 */
import { fail } from '../../core/index.ts'
import {
  createNode,
  floatAttribute,
  type Graph,
  intAttribute,
  type NameGenerator,
  type Node,
} from '../../graph/index.ts'
import { fromNumbers, Tensor } from '../../tensor/index.ts'
import type { Site } from '../sites.ts'
import type { WeightedStage } from './replace.ts'

/** Additions broadcast from this opset on; Reshape takes its shape as an input since 5. */
export const LEAST_TRAIN_OPSET = 7
/** Slice takes its bounds as inputs from this opset on. */
const SLICE_BY_INPUTS = 10

/** The nodes that put a train in the place of a linear layer; weights and shapes are added to the graph. */
export function trainNodes(
  graph: Graph,
  opset: number,
  site: Site,
  chain: readonly WeightedStage[],
  names: NameGenerator,
  bias: string | undefined,
): Node[] {
  if (opset < LEAST_TRAIN_OPSET)
    fail(
      'UNSUPPORTED',
      `${site.op} '${site.name}': tensor trains of matrices need opset ${LEAST_TRAIN_OPSET} or later; the model has ${opset}. ` +
        'Use method svd.',
    )
  const nodes: Node[] = []
  const { outputs } = site.node
  const constant = (name: string, tensor: Tensor): string => {
    const fresh = names.fresh(`${site.name}.${name}`)
    graph.initializers.set(fresh, tensor)
    return fresh
  }
  const add = (
    name: string,
    op: string,
    inputs: string[],
    attributes: Parameters<typeof createNode>[3] = {},
  ): string => {
    const result = names.fresh(`${outputs[0]}.${name}`)
    nodes.push(createNode(op, inputs, [result], attributes, names.fresh(`${site.name}.${name}`)))
    return result
  }
  const reshape = (name: string, value: string, shape: readonly number[]): string =>
    add(name, 'Reshape', [value, constant(`${name}.shape`, Tensor.int64(shape))])

  const input = site.node.inputs[0]!
  const turned = site.op === 'Gemm' && intAttribute(site.node, 'transA', 0) !== 0
  let value = turned ? add('turn', 'Transpose', [input], { perm: [1, 0] }) : input
  for (const { stage, name, weight } of chain) {
    graph.initializers.set(name, weight)
    const { after } = stage.between!
    const shape = after > 1 ? [-1, stage.inputs, after] : [-1, stage.inputs]
    value = reshape(`${stage.role}.split`, value, shape)
    value = add(stage.role, 'MatMul', after > 1 ? [name, value] : [value, name])
  }
  if (site.op === 'Gemm') {
    const scaled = (what: string, values: string, attribute: string): string => {
      const factor = floatAttribute(site.node, attribute, 1)
      if (factor === 1) return values
      return add(what, 'Mul', [
        values,
        constant(attribute, fromNumbers(Float64Array.of(factor), [], site.weight.dtype)),
      ])
    }
    value = scaled('scaled', reshape('joined', value, [-1, site.outputs]), 'alpha')
    if (bias !== undefined) value = add('biased', 'Add', [value, scaled('scaled.bias', bias, 'beta')])
  } else {
    // Any number of axes before the features, as a MatMul has them.
    const whole = add('shape', 'Shape', [input])
    const bounds = (): string[] => [
      constant('leading.starts', Tensor.int64([0])),
      constant('leading.ends', Tensor.int64([-1])),
    ]
    const before =
      opset >= SLICE_BY_INPUTS
        ? add('leading', 'Slice', [whole, ...bounds()])
        : add('leading', 'Slice', [whole], { axes: [0], starts: [0], ends: [-1] })
    const shape = add('joined.shape', 'Concat', [before, constant('features', Tensor.int64([site.outputs]))], {
      axis: 0,
    })
    value = add('joined', 'Reshape', [value, shape])
  }
  nodes.at(-1)!.outputs = [outputs[0]!]
  return nodes
}
