/** Poolings and their gradients on blocked values. */
import { intAttribute, intsAttribute, type Node, stringAttribute } from '../../graph/index.ts'
import { DTYPES, Tensor } from '../../tensor/index.ts'
import type { DeferredGradient } from './deferred-rules.ts'
import { wherePositive } from './elementwise.ts'
import type { Fusion, Layouts } from './layouts.ts'

/** Lowers a MaxPool without indices. @returns whether it did. */
export function lowerMaxPool(layouts: Layouts, node: Node): boolean {
  const x = node.inputs[0]!
  const hasIndices = node.outputs.slice(1).some((name) => name !== '')
  if (hasIndices || !layouts.isBlockable(x) || !layouts.isBlocked(x)) return false
  if (stringAttribute(node, 'auto_pad', 'NOTSET') !== 'NOTSET' || intAttribute(node, 'ceil_mode', 0) === 1) return false
  const [y] = node.outputs as [string]
  layouts.setBlocked(
    y,
    layouts.op('MaxPool', [layouts.blocked(x)], layouts.emit.shape(y), {
      kernel_shape: intsAttribute(node, 'kernel_shape', []),
      strides: intsAttribute(node, 'strides', [1, 1]),
      pads: intsAttribute(node, 'pads', [0, 0, 0, 0]),
      dilations: intsAttribute(node, 'dilations', [1, 1]),
      storage_order: 0,
      ceil_mode: 0,
      auto_pad: 'NOTSET',
    }),
  )
  return true
}

/**
 * Lowers the gradient of a MaxPool whose windows tile the picture, to the first maximum of each window as the standard
 * formulation does: elements that equal their window's maximum get their rank from its end, the largest rank is first.
 */
export function lowerMaxPoolGradient(
  layouts: Layouts,
  { node, inputs, outputs, gradients, results }: DeferredGradient,
): readonly boolean[] {
  const [[x], [y], [dx]] = [inputs, outputs, results] as [[string], [string], [string]]
  if (!layouts.isBlockable(x) || !layouts.isBlocked(x) || !layouts.isBlocked(y)) return []
  const { emit, block } = layouts
  const shape = emit.shape(x)
  const kernel = intsAttribute(node, 'kernel_shape', [])
  const out = emit.shape(y)
  const strides = intsAttribute(node, 'strides', [1, 1])
  const dilations = intsAttribute(node, 'dilations', [1, 1])
  if (kernel.some((extent, at) => extent !== strides[at] || dilations[at] !== 1)) return []
  if (kernel.some((extent, at) => extent * out[at + 2]! !== shape[at + 2])) return []
  const [batch, channels, height, width] = shape as [number, number, number, number]
  const rows = [(batch * channels) / block, height * width * block]
  const repeat = (value: string): string =>
    layouts.op('Upsample', [value], shape, { scales: [1, 1, ...kernel], mode: 'nearest' })
  const [source, pooled, dy] = [layouts.blocked(x), layouts.blocked(y), layouts.blocked(gradients[0]!)]
  // Where is three passes in ONNX Runtime, a product with 0 and 1 two.
  const numbers = (condition: string): string => emit.cast(condition, 'float32', DTYPES.float32.code)
  const toFirst = ({ masked }: Fusion): string => {
    const isMaximum = emit.reshape(numbers(emit.binary('Equal', source, repeat(pooled))), rows)
    const ranks = ranksFromEnd([height, width], [kernel[0]!, kernel[1]!], block)
    const ranked = emit.reshape(emit.mul(isMaximum, emit.tensor(ranks)), shape)
    const pooling = { kernel_shape: kernel, strides: kernel, pads: [0, 0, 0, 0], dilations: [1, 1], auto_pad: 'NOTSET' }
    const best = layouts.op('MaxPool', [ranked], out, { ...pooling, storage_order: 0, ceil_mode: 0 })
    const isFirst = numbers(emit.binary('Equal', ranked, repeat(best)))
    // The maximum is positive where its window's is.
    return emit.mul(repeat(masked ? wherePositive(emit, pooled, dy) : dy), isFirst)
  }
  layouts.setPending(dx, { addsUp: false, operand: x, emit: toFirst })
  return [true]
}

/** Number of elements of the window from each element to its end, itself included, `[H · W · block]`. */
function ranksFromEnd(
  [height, width]: readonly [number, number],
  [rows, columns]: readonly [number, number],
  block: number,
): Tensor {
  const ranks = new Float32Array(height * width * block)
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let lane = 0; lane < block; lane++, at++) ranks[at] = rows * columns - ((y % rows) * columns + (x % columns))
  return Tensor.of(ranks, [ranks.length])
}

/** Lowers a GlobalAveragePool; its result has the same elements in both layouts. @returns whether it did. */
export function lowerGlobalAveragePool(layouts: Layouts, node: Node): boolean {
  const [x, y] = [node.inputs[0]!, node.outputs[0]!]
  if (!layouts.isBlockable(x) || !layouts.isBlocked(x)) return false
  layouts.node('GlobalAveragePool', [layouts.blocked(x)], y)
  layouts.setBlocked(y, y)
  return true
}

/** Lowers its gradient: a picture of one pixel, enlarged. */
export function lowerGlobalAveragePoolGradient(
  layouts: Layouts,
  { inputs, gradients, results }: DeferredGradient,
): readonly boolean[] {
  const x = inputs[0]!
  if (!layouts.isBlockable(x) || !layouts.isBlocked(x)) return []
  const { emit } = layouts
  const [, , height, width] = emit.shape(x) as [number, number, number, number]
  const each = emit.scale(layouts.plain(gradients[0]!), 1 / (height * width))
  const scales = [1, 1, height, width]
  layouts.setBlocked(results[0]!, layouts.op('Upsample', [each], emit.shape(x), { scales, mode: 'nearest' }))
  return [true]
}
