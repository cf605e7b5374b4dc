/** Sliding windows of convolutions and poolings: attributes with their defaults, per spatial axis. */
import { intsAttribute, type Node, stringAttribute } from '../../graph/index.ts'
import type { RuleContext } from './rule.ts'

/** A window sliding over the spatial axes; every list has one entry per spatial axis. */
export interface SlidingWindow {
  /** Extents of what the window slides over. */
  readonly input: readonly number[]
  /** Number of positions. */
  readonly output: readonly number[]
  readonly kernel: readonly number[]
  readonly strides: readonly number[]
  readonly dilations: readonly number[]
  /** Padding before the first element. */
  readonly before: readonly number[]
  /**
   * What the last position needs after the last element: negative where trailing elements are under no window.
   * `input + before + after = (output − 1) · stride + (kernel − 1) · dilation + 1`, whatever the node's own pads are.
   */
  readonly after: readonly number[]
}

/** Extents that a kernel covers: `(kernel − 1) · dilation + 1`. */
export function reach({ kernel, dilations }: Pick<SlidingWindow, 'kernel' | 'dilations'>): number[] {
  return kernel.map((extent, axis) => (extent - 1) * dilations[axis]! + 1)
}

/** The window of a Conv or pooling node whose input and output extents are known. */
export function windowOf(
  node: Node,
  input: readonly number[],
  output: readonly number[],
  kernel: readonly number[],
): SlidingWindow {
  const ones = kernel.map(() => 1)
  const strides = intsAttribute(node, 'strides', ones)
  const dilations = intsAttribute(node, 'dilations', ones)
  const covered = reach({ kernel, dilations })
  const needed = input.map((extent, axis) => (output[axis]! - 1) * strides[axis]! + covered[axis]! - extent)
  const before = padsBefore(node, needed)
  const after = needed.map((amount, axis) => amount - before[axis]!)
  return { input, output, kernel, strides, dilations, before, after }
}

/** The window of a pooling node. */
export function poolingWindow({ emit, node, inputs, outputs }: RuleContext): SlidingWindow {
  const input = emit.shape(inputs[0]!).slice(2)
  const kernel = intsAttribute(node, 'kernel_shape', input)
  return windowOf(node, input, emit.shape(outputs[0]!).slice(2), kernel)
}

function padsBefore(node: Node, needed: readonly number[]): number[] {
  switch (stringAttribute(node, 'auto_pad', 'NOTSET')) {
    case 'SAME_UPPER':
      return needed.map((amount) => Math.floor(Math.max(0, amount) / 2))
    case 'SAME_LOWER':
      return needed.map((amount) => Math.ceil(Math.max(0, amount) / 2))
    case 'VALID':
      return needed.map(() => 0)
    default:
      return intsAttribute(
        node,
        'pads',
        needed.flatMap(() => [0, 0]),
      ).slice(0, needed.length)
  }
}

/** Whether nothing is added or left over at either end. */
export function isExact({ before, after }: SlidingWindow): boolean {
  return [...before, ...after].every((amount) => amount === 0)
}

/** Whether the windows tile the input: next to each other, without padding; trailing elements may be left over. */
export function isTiling({ kernel, strides, dilations, before, after }: SlidingWindow): boolean {
  return kernel.every(
    (extent, axis) =>
      extent === strides[axis] && (dilations[axis] === 1 || extent === 1) && before[axis] === 0 && after[axis]! <= 0,
  )
}

/** Offsets of the kernel's elements in input elements, row-major: `index · dilation` per axis. */
export function tapsOf({ kernel, dilations }: SlidingWindow): number[][] {
  let taps: number[][] = [[]]
  for (const [axis, extent] of kernel.entries())
    taps = taps.flatMap((tap) => Array.from({ length: extent }, (_, at) => [...tap, at * dilations[axis]!]))
  return taps
}
