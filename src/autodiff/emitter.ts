/**
 * Emits the nodes of a gradient graph. Every value it handles has a known element type and shape, so that rules are
 * written in terms of shapes and no shape operator ends up in the graph.
 */
import { fail } from '../core/index.ts'
import { type AttributeInput, createNode, type Graph, NameGenerator, type Node } from '../graph/index.ts'
import { type DType, fromNumbers, sizeOf, Tensor } from '../tensor/index.ts'

/** Element type and shape of a value. */
export interface Typed {
  readonly dtype: DType
  readonly shape: readonly number[]
}

type Attributes = Readonly<Record<string, AttributeInput | undefined>>

/** The shape of two operands broadcast against each other, after ONNX's multidirectional broadcasting. */
export function broadcastShape(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length)
  return Array.from({ length: rank }, (_, axis) => {
    const left = a[axis - rank + a.length] ?? 1
    const right = b[axis - rank + b.length] ?? 1
    if (left !== right && left !== 1 && right !== 1)
      fail('SHAPE_MISMATCH', `Shapes [${a.join(', ')}] and [${b.join(', ')}] do not broadcast.`)
    return left === 1 ? right : left
  })
}

/** Adds nodes to a graph and keeps the element type and shape of every value. */
export class Emitter {
  readonly #graph: Graph
  readonly #types: Map<string, Typed>
  readonly #names: NameGenerator
  readonly #constants = new Map<string, string>()

  /** @param types of the values that are there already. */
  constructor(graph: Graph, types: ReadonlyMap<string, Typed>) {
    this.#graph = graph
    this.#types = new Map(types)
    this.#names = new NameGenerator(graph)
  }

  /** Element type and shape of a value. @throws WhittleError `INVALID_MODEL` when they are not known. */
  type(value: string): Typed {
    return (
      this.#types.get(value) ??
      fail('INVALID_MODEL', `Value '${value}': its element type and shape must be known; they were not observed.`)
    )
  }

  /** Element types and shapes of all values so far; grows as nodes are added. */
  get types(): ReadonlyMap<string, Typed> {
    return this.#types
  }

  /** Takes a name for a value that the caller will add to the graph himself, such as a graph input. */
  declare(wanted: string, type: Typed): string {
    const name = this.#names.fresh(wanted)
    this.#types.set(name, type)
    return name
  }

  /** An output of a node that is there already, such as the mask of Dropout; it is added where the node omits it. */
  output(node: Node, index: number, type: Typed): string {
    while (node.outputs.length <= index) node.outputs.push('')
    if (node.outputs[index] === '') node.outputs[index] = this.declare(`${node.opType}_${index}`, type)
    return node.outputs[index]!
  }

  /** Shape of a value. */
  shape(value: string): readonly number[] {
    return this.type(value).shape
  }

  /** Adds a node with one output of the given shape; its element type is the first input's unless given. */
  op(
    opType: string,
    inputs: readonly string[],
    shape: readonly number[],
    attributes: Attributes = {},
    dtype?: DType,
  ): string {
    const type = { shape, dtype: dtype ?? this.type(inputs[0]!).dtype }
    return this.ops(opType, inputs, [type], attributes)[0]!
  }

  /** Adds a node with several outputs. */
  ops(opType: string, inputs: readonly string[], outputs: readonly Typed[], attributes: Attributes = {}): string[] {
    const base = opType.split('::').at(-1)!
    const names = outputs.map((type) => {
      const name = this.#names.fresh(`grad_${base}`)
      this.#types.set(name, type)
      return name
    })
    this.#graph.nodes.push(createNode(opType, inputs, names, attributes, this.#names.fresh(`grad_node_${base}`)))
    return names
  }

  /** A constant; equal ones of few elements are one. */
  tensor(tensor: Tensor): string {
    const small = sizeOf(tensor.shape) <= 64
    const key = small ? `${tensor.dtype} [${tensor.shape.join()}] ${[...tensor.bytes].join()}` : ''
    const known = small ? this.#constants.get(key) : undefined
    if (known !== undefined) return known
    const name = this.#names.fresh('grad_constant')
    this.#graph.initializers.set(name, tensor)
    this.#types.set(name, { dtype: tensor.dtype, shape: tensor.shape })
    if (small) this.#constants.set(key, name)
    return name
  }

  /** A number of the element type of `like`, as a tensor without axes. */
  number(value: number, like: string): string {
    return this.tensor(fromNumbers(Float64Array.of(value), [], this.type(like).dtype))
  }

  /** A list of integers (int64), such as a shape or axes. */
  integers(values: readonly number[]): string {
    return this.tensor(Tensor.of(BigInt64Array.from(values, BigInt), [values.length]))
  }

  /** An elementwise operator of one input. */
  unary(opType: string, x: string, attributes: Attributes = {}): string {
    return this.op(opType, [x], this.shape(x), attributes)
  }

  /** An elementwise operator of two inputs, broadcast; comparisons give booleans. */
  binary(opType: string, a: string, b: string): string {
    const compares = ['Equal', 'Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual'].includes(opType)
    const shape = broadcastShape(this.shape(a), this.shape(b))
    return this.op(opType, [a, b], shape, {}, compares ? 'bool' : undefined)
  }

  add(a: string, b: string): string {
    return this.binary('Add', a, b)
  }

  sub(a: string, b: string): string {
    return this.binary('Sub', a, b)
  }

  mul(a: string, b: string): string {
    return this.binary('Mul', a, b)
  }

  div(a: string, b: string): string {
    return this.binary('Div', a, b)
  }

  neg(x: string): string {
    return this.unary('Neg', x)
  }

  /** `x · value`; `x` itself for 1. */
  scale(x: string, value: number): string {
    return value === 1 ? x : this.mul(x, this.number(value, x))
  }

  where(condition: string, a: string, b: string): string {
    const shape = broadcastShape(this.shape(condition), broadcastShape(this.shape(a), this.shape(b)))
    return this.op('Where', [condition, a, b], shape, {}, this.type(a).dtype)
  }

  cast(x: string, dtype: DType, code: number): string {
    return this.op('Cast', [x], this.shape(x), { to: code }, dtype)
  }

  /** The same elements in another shape; the value itself when it has that shape. */
  reshape(x: string, shape: readonly number[]): string {
    if (this.shape(x).join() === shape.join()) return x
    if (sizeOf(shape) !== sizeOf(this.shape(x)))
      fail('SHAPE_MISMATCH', `Reshape of [${this.shape(x).join(', ')}] to [${shape.join(', ')}]: sizes differ.`)
    return this.op('Reshape', [x, this.integers(shape)], shape, { allowzero: shape.includes(0) ? 1 : undefined })
  }

  transpose(x: string, perm: readonly number[]): string {
    if (perm.every((from, to) => from === to)) return x
    const shape = this.shape(x)
    const moved = perm.map((axis) => shape[axis]!)
    return this.op('Transpose', [x], moved, { perm })
  }

  /** Any of the Reduce* operators over the given axes (none: the value itself). */
  reduce(opType: string, x: string, axes: readonly number[], keepdims = true): string {
    if (axes.length === 0) return x
    const shape = this.shape(x).flatMap((extent, axis) => (axes.includes(axis) ? (keepdims ? [1] : []) : [extent]))
    return this.op(opType, [x, this.integers(axes)], shape, { keepdims: keepdims ? 1 : 0 })
  }

  sum(x: string, axes: readonly number[], keepdims = true): string {
    return this.reduce('ReduceSum', x, axes, keepdims)
  }

  /** The sum over the axes that broadcasting from `shape` added or widened; its shape is `shape`. */
  sumTo(x: string, shape: readonly number[]): string {
    const from = this.shape(x)
    if (from.join() === shape.join()) return x
    const added = from.length - shape.length
    const axes = [...from.keys()].filter((axis) => axis < added || (shape[axis - added] === 1 && from[axis] !== 1))
    const keepdims = axes.some((axis) => axis >= added)
    return this.reshape(this.sum(x, axes, keepdims), shape)
  }

  expand(x: string, shape: readonly number[]): string {
    if (this.shape(x).join() === shape.join()) return x
    return this.op('Expand', [x, this.integers(shape)], broadcastShape(this.shape(x), shape))
  }

  /** Batched matrix product with broadcast leading axes. Both operands have at least two axes. */
  matmul(a: string, b: string): string {
    const [left, right] = [this.shape(a), this.shape(b)]
    const lead = broadcastShape(left.slice(0, -2), right.slice(0, -2))
    return this.op('MatMul', [a, b], [...lead, left.at(-2)!, right.at(-1)!])
  }

  /** The last two axes swapped. */
  swapLast(x: string): string {
    const rank = this.shape(x).length
    return this.transpose(x, [...Array(rank - 2).keys(), rank - 1, rank - 2])
  }

  concat(values: readonly string[], axis: number): string {
    if (values.length === 1) return values[0]!
    const shape = [...this.shape(values[0]!)]
    shape[axis] = values.reduce((sum, value) => sum + this.shape(value)[axis]!, 0)
    return this.op('Concat', values, shape, { axis })
  }

  /** Elements `start, start + step, …` before `end` of each named axis; `0 ≤ start < end ≤ extent`, `step ≥ 1`. */
  slice(
    x: string,
    axes: readonly number[],
    starts: readonly number[],
    ends: readonly number[],
    steps: readonly number[] = axes.map(() => 1),
  ): string {
    const shape = [...this.shape(x)]
    for (const [at, axis] of axes.entries()) shape[axis] = Math.ceil((ends[at]! - starts[at]!) / steps[at]!)
    const inputs = [x, this.integers(starts), this.integers(ends), this.integers(axes)]
    if (steps.some((step) => step !== 1)) inputs.push(this.integers(steps))
    return this.op('Slice', inputs, shape)
  }

  /** Zeros around a value; negative amounts crop. The value itself where nothing is added. */
  pad(x: string, before: readonly number[], after: readonly number[]): string {
    if ([...before, ...after].every((amount) => amount === 0)) return x
    const shape = this.shape(x).map((extent, axis) => extent + before[axis]! + after[axis]!)
    return this.op('Pad', [x, this.integers([...before, ...after])], shape, { mode: 'constant' })
  }
}
