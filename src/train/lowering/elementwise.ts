/** Operators that work on blocked values as they are, since they look at one element of each operand. */
import type { Emitter } from '../../autodiff/index.ts'
import { float, type Node } from '../../graph/index.ts'
import { sizeOf } from '../../tensor/index.ts'
import type { DeferredGradient } from './deferred-rules.ts'
import type { Layouts } from './layouts.ts'

const ELEMENTWISE: ReadonlySet<string> = new Set(
  'Abs Add Clip Div Elu Erf Exp Gelu HardSigmoid HardSwish LeakyRelu Max Min Mish Mul Neg Relu Round Sigmoid Softplus Sub Sum Tanh'.split(
    ' ',
  ),
)

/** Largest float32: with this slope every normal positive number reaches 1. */
const STEEP = 3.4028234663852886e38

/** Lowers an elementwise operator where an operand is blocked already. @returns whether it did. */
export function lowerElementwise(layouts: Layouts, node: Node): boolean {
  const [y] = node.outputs
  if (!ELEMENTWISE.has(node.opType) || y === undefined || !layouts.isBlockable(y)) return false
  const { emit } = layouts
  const shape = emit.shape(y).join()
  const pictures = node.inputs.filter((name) => name !== '' && sizeOf(emit.shape(name)) > 1)
  if (pictures.some((name) => emit.shape(name).join() !== shape) || !pictures.some((name) => layouts.isBlocked(name)))
    return false
  if (node.opType === 'Relu' && fuseRelu(layouts, node)) return true
  if (node.opType === 'Add' && fuseSum(layouts, node)) return true
  const inputs = node.inputs.map((name) => (pictures.includes(name) ? layouts.blocked(name) : layouts.plain(name)))
  const result = emit.op(node.opType, inputs, emit.shape(y))
  layouts.graph.nodes.at(-1)!.attributes = node.attributes
  layouts.setBlocked(y, result)
  return true
}

/** Lowers a sum over all axes of a blocked value, whatever the order of its elements. @returns whether it did. */
export function lowerTotal(layouts: Layouts, node: Node): boolean {
  const [x = '', axes = ''] = node.inputs
  const [y] = node.outputs
  const list = layouts.graph.initializers.get(axes)
  if (y === undefined || list?.size !== 4 || !layouts.isBlockable(x) || !layouts.isBlocked(x)) return false
  const total = layouts.emit.op('ReduceSum', [layouts.blocked(x), axes], layouts.emit.shape(y))
  layouts.graph.nodes.at(-1)!.attributes = node.attributes
  layouts.give(y, total)
  return true
}

/** Relu in the node that makes its operand. */
function fuseRelu(layouts: Layouts, node: Node): boolean {
  const x = node.inputs[0]!
  const pending = layouts.pending(x)
  if (!pending || layouts.uses(x) > 1) return false
  layouts.drop(x)
  layouts.setBlocked(node.outputs[0]!, pending.emit({ relu: true }))
  return true
}

/** Add in the node that makes one of its operands; a Relu may follow. */
function fuseSum(layouts: Layouts, node: Node): boolean {
  const [a, b] = node.inputs as [string, string]
  if (a === b) return false
  const able = [b, a].find((name) => layouts.pending(name)?.addsUp && layouts.uses(name) === 1)
  if (able === undefined) return false
  const { emit } = layouts.pending(able)!
  const other = layouts.blocked(able === a ? b : a)
  layouts.drop(able)
  layouts.setPending(node.outputs[0]!, { addsUp: false, emit: ({ relu }) => emit({ sum: other, relu }) })
  return true
}

/** Lowers the gradient of Relu: dY where Y is positive. */
export function lowerReluGradient(
  layouts: Layouts,
  { outputs, gradients, results }: DeferredGradient,
): readonly boolean[] {
  const y = outputs[0]!
  if (!layouts.isBlockable(y) || !layouts.isBlocked(y)) return []
  const g = gradients[0]!
  const pending = layouts.pending(g)
  if (pending?.operand === y && layouts.uses(g) === 1) {
    layouts.drop(g)
    layouts.setBlocked(results[0]!, pending.emit({ masked: true }))
  } else layouts.setBlocked(results[0]!, wherePositive(layouts.emit, layouts.blocked(y), layouts.blocked(g)))
  return [true]
}

/** `g` where `x` is positive, else 0. */
export function wherePositive(emit: Emitter, x: string, g: string): string {
  return emit.mul(g, emit.unary('HardSigmoid', x, { alpha: float(STEEP), beta: float(0) }))
}
