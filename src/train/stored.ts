/**
 * What steps hand on, in the form in which the graph inside the loop has it: kernels with their axes in another order,
 * small tensors as parts of one vector. Between runs they stay so; everywhere else a tensor is as the model has it.
 */
import type { Emitter, Typed } from '../autodiff/index.ts'
import { byteLengthOf, sizeOf, Tensor, transposeTensor } from '../tensor/index.ts'

/** A tensor's axes in another order: reshaped to `parts`, which are then put in `order`. */
export interface StoredOrder {
  readonly parts: readonly number[]
  readonly order: readonly number[]
}

/** The shape of a tensor in another order. */
export function storedShape({ parts, order }: StoredOrder): number[] {
  return order.map((axis) => parts[axis]!)
}

/** A tensor as the model has it. */
export interface Member {
  readonly name: string
  readonly type: Typed
  readonly order?: StoredOrder | undefined
}

/** A value that steps hand on, and the tensors that it is made of: one, or several as one vector. */
export interface Carrier {
  readonly name: string
  readonly members: readonly Member[]
}

/** The carrier's tensor, made of its members'. @param tensorOf by member's name. */
export function pack({ members }: Carrier, tensorOf: (name: string) => Tensor): Tensor {
  const [only] = members as [Member]
  if (members.length === 1) return inOrder(tensorOf(only.name), only.order)
  const parts = members.map(({ name, order }) => inOrder(tensorOf(name), order).bytes)
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.byteLength
  }
  const size = members.reduce((sum, { type }) => sum + sizeOf(type.shape), 0)
  return Tensor.fromBytes(only.type.dtype, [size], bytes)
}

/** The members' tensors by name; those in another order are put back when they are read. */
export function unpack({ members }: Carrier, tensor: Tensor): [string, Tensor][] {
  let at = 0
  return members.map((member): [string, Tensor] => {
    const { dtype, shape } = member.type
    const from = at
    at += byteLengthOf(dtype, sizeOf(shape))
    const own = Tensor.fromBytes(dtype, storedShapeOf(member), tensor.bytes.subarray(from, at))
    const { order } = member
    if (!order) return [member.name, own]
    const back = order.order.map((_, axis) => order.order.indexOf(axis))
    return [member.name, Tensor.lazy(dtype, shape, () => transposeTensor(own, back).bytes)]
  })
}

function inOrder(tensor: Tensor, order: StoredOrder | undefined): Tensor {
  return order ? transposeTensor(tensor.reshape(order.parts), order.order) : tensor
}

/** The shape that a member has inside the loop. */
export function storedShapeOf({ type, order }: Member): readonly number[] {
  return order ? storedShape(order) : type.shape
}

/** The parts of a vector. */
export function split(emit: Emitter, vector: string, sizes: readonly number[]): string[] {
  const { dtype } = emit.type(vector)
  const types = sizes.map((size) => ({ dtype, shape: [size] }))
  return emit.ops('Split', [vector, emit.integers(sizes)], types, { axis: 0 })
}

/** A value as a vector. */
export function flat(emit: Emitter, value: string): string {
  return emit.reshape(value, [sizeOf(emit.shape(value))])
}
