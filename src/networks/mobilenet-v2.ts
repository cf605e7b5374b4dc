/**
 * MobileNetV2: Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018,
 * table 2.
 */
import type { Model } from '../graph/index.ts'
import { Tensor } from '../tensor/index.ts'
import { initialize } from './initialize.ts'
import { checkCount, NetworkBuilder, type NetworkOptions } from './network-builder.ts'

/** Options of {@link mobileNetV2}. */
export interface MobileNetV2Options extends NetworkOptions {
  /** Factor on the channels, each rounded to a multiple of 8; the last 1280 are only widened. Default 1. */
  readonly width?: number | undefined
  /** Edge of the pictures in pixels; default 32. */
  readonly resolution?: number | undefined
  /**
   * Strides of the stem and of the seven stages. Default: those of the paper from 128 pixels on, `[2, 1, 2, 2, 2, 1, 2,
   * 1]`; for smaller pictures the first two halvings are left out, `[1, 1, 1, 2, 2, 1, 2, 1]`.
   */
  readonly strides?: readonly number[] | undefined
}

/** Expansion, channels and repetitions of each stage. */
const STAGES = [
  [1, 16, 1],
  [6, 24, 2],
  [6, 32, 3],
  [6, 64, 4],
  [6, 96, 3],
  [6, 160, 3],
  [6, 320, 1],
] as const

const LARGE_PICTURES = 128

/** The nearest multiple of 8 that is at most a tenth smaller, as the reference implementation rounds. */
function roundChannels(count: number): number {
  const rounded = Math.max(8, Math.floor((count + 4) / 8) * 8)
  return rounded < 0.9 * count ? rounded + 8 : rounded
}

type Layer = (
  path: string,
  x: string,
  out: number,
  options: { kernel?: number; stride?: number; group?: number },
) => string

/**
 * MobileNetV2 for pictures `[batch, 3, resolution, resolution]`. With 10 classes it has 2,236,682 parameters; with 1000
 * classes and 224 pixels 3,504,872 and 300.8 million MACs.
 *
 * @throws WhittleError `INVALID_ARGUMENT` unless there are eight strides.
 */
export function mobileNetV2(options: MobileNetV2Options = {}): Model {
  const { width = 1, classes = 10, resolution = 32, seed = 0 } = options
  const large = resolution >= LARGE_PICTURES
  const { strides = large ? [2, 1, 2, 2, 2, 1, 2, 1] : [1, 1, 1, 2, 2, 1, 2, 1] } = options
  checkCount('classes', classes)
  checkCount('resolution', resolution)
  checkCount('strides (how many)', strides.length, STAGES.length + 1)
  const b = new NetworkBuilder('mobilenet-v2')
  const six = [b.constant(Tensor.of(Float32Array.of(0), []), 'relu6.min')]
  six.push(b.constant(Tensor.of(Float32Array.of(6), []), 'relu6.max'))
  const layer: Layer = (path, x, out, convolution) =>
    b.node('Clip', `${path}.2`, [b.batchNorm(`${path}.1`, b.conv(`${path}.0`, x, out, convolution)), ...six])
  const block = (path: string, x: string, expansion: number, out: number, stride: number): string => {
    const inner = b.channels(x) * expansion
    let y = x
    let index = 0
    if (expansion !== 1) y = layer(`${path}.conv.${index++}`, y, inner, { kernel: 1 })
    y = layer(`${path}.conv.${index++}`, y, inner, { stride, group: inner })
    y = b.conv(`${path}.conv.${index++}`, y, out, { kernel: 1 })
    y = b.batchNorm(`${path}.conv.${index}`, y)
    return stride === 1 && b.channels(x) === out ? b.node('Add', `${path}.add`, [x, y]) : y
  }
  let y = layer('features.0', b.pictures(resolution), roundChannels(32 * width), { stride: strides[0]! })
  let index = 1
  for (const [stage, [expansion, channels, count]] of STAGES.entries())
    for (let i = 0; i < count; i++)
      y = block(`features.${index++}`, y, expansion, roundChannels(channels * width), i === 0 ? strides[stage + 1]! : 1)
  y = layer(`features.${index}`, y, roundChannels(1280 * Math.max(1, width)), { kernel: 1 })
  return initialize(b.model(b.linear('classifier.1', b.pool('pool', y), classes)), { seed })
}
