/** What the formulations of a convolution's gradients are written in terms of. */
import type { Emitter } from '../emitter.ts'
import type { SlidingWindow } from './window.ts'

/** A convolution `[N, C, input…] * [K, C / groups, kernel…] → [N, K, output…]`. */
export interface ConvGeometry extends SlidingWindow {
  readonly batch: number
  /** C. */
  readonly inChannels: number
  /** K. */
  readonly outChannels: number
  readonly groups: number
}

/** One way to compute a gradient of a convolution; all ways of one gradient give the same numbers up to rounding. */
export interface Formulation {
  readonly name: string
  /** Whether it is right for this convolution. */
  applies(geometry: ConvGeometry): boolean
  /** Whether measurements say to take it, given that it applies. */
  prefers(geometry: ConvGeometry): boolean
  /**
   * Adds its nodes. For the gradient by the input, `a` is that of the output `[N, K, output…]` and `b` the weight; for
   * the gradient by the weight, `a` is the input `[N, C, input…]` and `b` the gradient of the output.
   */
  emit(emit: Emitter, a: string, b: string, geometry: ConvGeometry): string
}

/** The number of elements of a list of extents. */
export function product(extents: readonly number[]): number {
  return extents.reduce((size, extent) => size * extent, 1)
}

/** Whether all strides are 1. */
export function isDense({ strides }: ConvGeometry): boolean {
  return strides.every((stride) => stride === 1)
}

/** Zeros for `count` axes. */
export function zeros(count: number): number[] {
  return new Array<number>(count).fill(0)
}

/** A value with padding along the axes from `first` on; negative amounts, which crop, are left to what slices it. */
export function padSpatial(emit: Emitter, x: string, { before, after }: SlidingWindow, first: number): string {
  const rank = emit.shape(x).length
  const around = (amounts: readonly number[]): number[] => [
    ...zeros(first),
    ...amounts.map((amount) => Math.max(0, amount)),
    ...zeros(rank - first - amounts.length),
  ]
  return emit.pad(x, around(before), around(after))
}

/** The elements of a padded input that one element of the kernel meets, one per position of the window. */
export function tapOf(emit: Emitter, x: string, tap: readonly number[], window: SlidingWindow, first: number): string {
  const { output, strides } = window
  const axes = output.map((_, axis) => first + axis)
  const ends = output.map((count, axis) => tap[axis]! + (count - 1) * strides[axis]! + 1)
  const shape = emit.shape(x)
  const whole = axes.every((axis, at) => tap[at] === 0 && ends[at] === shape[axis] && strides[at] === 1)
  return whole ? x : emit.slice(x, axes, tap, ends, strides)
}

/** Conv where negative padding crops: ONNX Runtime refuses it as an attribute. */
export function convolve(
  emit: Emitter,
  x: string,
  weight: string,
  shape: readonly number[],
  options: {
    readonly before: readonly number[]
    readonly after: readonly number[]
    readonly strides?: readonly number[] | undefined
    readonly dilations: readonly number[]
    readonly groups: number
  },
): string {
  const { before, after, strides, dilations, groups } = options
  const extents = emit.shape(x).slice(2)
  const cropped = [...extents.keys()].filter((axis) => before[axis]! < 0 || after[axis]! < 0)
  const inner =
    cropped.length === 0
      ? x
      : emit.slice(
          x,
          cropped.map((axis) => axis + 2),
          cropped.map((axis) => Math.max(0, -before[axis]!)),
          cropped.map((axis) => extents[axis]! - Math.max(0, -after[axis]!)),
        )
  return emit.op('Conv', [inner, weight], shape, {
    kernel_shape: emit.shape(weight).slice(2),
    pads: [...before, ...after].map((amount) => Math.max(0, amount)),
    strides,
    dilations,
    group: groups,
  })
}
