/** Gradients of MaxPool and GlobalMaxPool: to the first maximum of each window, row-major, as PyTorch does. */
import { fromNumbers, sizeOf, Tensor } from '../../tensor/index.ts'
import type { Emitter } from '../emitter.ts'
import { repeatSpatial } from './axis-map.ts'
import { zeros } from './conv-geometry.ts'
import { scatterAdd } from './pieces.ts'
import type { GradientRules, RuleContext } from './rule.ts'
import { sameAttributes } from './same-attributes.ts'
import { isTiling, poolingWindow, type SlidingWindow } from './window.ts'

function maxPool(context: RuleContext): readonly string[] {
  const window = poolingWindow(context)
  const tiles = isTiling(window) && context.emit.type(context.inputs[0]!).dtype === 'float32'
  return [tiles ? toFirstOfTile(context, window) : byIndices(context)]
}

/**
 * Windows that tile the input. ONNX Runtime finds indices of maxima 18 times slower than maxima, so the first one is
 * found by a second pooling: elements equal to their window's maximum get their rank from the end of the window, the
 * others 0, and the largest rank of a window is that of the first maximum.
 */
function toFirstOfTile({ emit, inputs, outputs, gradients }: RuleContext, window: SlidingWindow): string {
  const { input, output, kernel } = window
  const covered = output.map((count, axis) => count * kernel[axis]!)
  const left = input.map((extent, axis) => extent - covered[axis]!)
  const spatial = [...input.keys()].filter((axis) => left[axis]! > 0)
  const x =
    spatial.length === 0
      ? inputs[0]!
      : emit.slice(
          inputs[0]!,
          spatial.map((axis) => axis + 2),
          spatial.map(() => 0),
          spatial.map((axis) => covered[axis]!),
        )
  const zero = emit.number(0, x)
  const isMaximum = emit.binary('Equal', x, repeatSpatial(emit, outputs[0]!, kernel))
  const ranked = emit.where(isMaximum, emit.tensor(ranksFromEnd(covered, kernel)), zero)
  const best = emit.op('MaxPool', [ranked], emit.shape(outputs[0]!), { kernel_shape: kernel, strides: kernel })
  const isFirst = emit.binary('Equal', ranked, repeatSpatial(emit, best, kernel))
  const dx = emit.where(isFirst, repeatSpatial(emit, gradients[0]!, kernel), zero)
  return emit.pad(dx, zeros(input.length + 2), [0, 0, ...left])
}

/** Number of elements of the window from each element to its end, itself included: 1 for the last. */
function ranksFromEnd(extents: readonly number[], kernel: readonly number[]): Tensor {
  const ranks = new Float32Array(sizeOf(extents))
  const size = sizeOf(kernel)
  for (let i = 0; i < ranks.length; i++) {
    let [rest, rank, step] = [i, 0, 1]
    for (let axis = extents.length - 1; axis >= 0; axis--) {
      rank += ((rest % extents[axis]!) % kernel[axis]!) * step
      step *= kernel[axis]!
      rest = Math.floor(rest / extents[axis]!)
    }
    ranks[i] = size - rank
  }
  return Tensor.of(ranks, extents)
}

/** Any windows: by the indices that the operator gives, counted through the whole tensor. */
function byIndices({ emit, node, inputs, outputs, gradients }: RuleContext): string {
  const x = inputs[0]!
  const shape = emit.shape(outputs[0]!)
  const type = emit.type(x)
  const types = [
    { dtype: type.dtype, shape },
    { dtype: 'int64', shape },
  ] as const
  const indices = emit.ops('MaxPool', [x], types, sameAttributes(node, ['storage_order']))[1]!
  const [size, count] = [sizeOf(type.shape), sizeOf(shape)]
  const flat = scatterAdd(emit, [size], emit.reshape(indices, [count]), emit.reshape(gradients[0]!, [count]), 0)
  return emit.reshape(flat, type.shape)
}

/** Zeros made at run time, so that they take no room in the model. */
function zerosOf(emit: Emitter, shape: readonly number[], like: string): string {
  const { dtype } = emit.type(like)
  const value = fromNumbers(Float64Array.of(0), [1], dtype)
  return emit.op('ConstantOfShape', [emit.integers(shape)], shape, { value }, dtype)
}

function globalMaxPool({ emit, inputs, gradients }: RuleContext): readonly string[] {
  const x = inputs[0]!
  const shape = emit.shape(x)
  const [batch, channels, ...spatial] = shape as [number, number, ...number[]]
  const planes = [batch, channels, sizeOf(spatial)]
  const one = [batch, channels, 1]
  const first = emit.op('ArgMax', [emit.reshape(x, planes)], one, { axis: 2, keepdims: 1 }, 'int64')
  const parts = [zerosOf(emit, planes, x), first, emit.reshape(gradients[0]!, one)]
  return [emit.reshape(emit.op('ScatterElements', parts, planes, { axis: 2 }), shape)]
}

/** MaxPool and GlobalMaxPool. */
export const MAX_POOL_RULES: GradientRules = { MaxPool: maxPool, GlobalMaxPool: globalMaxPool }
