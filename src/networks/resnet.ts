/**
 * Residual networks. CIFAR form (ResNet-20, 56 …): He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition",
 * 2016, section 4.2. ResNet-18 with a stem for 32 × 32 pixels: a 3×3 convolution of stride 1 and no pooling before the
 * four stages of table 1.
 */
import type { Model } from '../graph/index.ts'
import { Tensor } from '../tensor/index.ts'
import { initialize } from './initialize.ts'
import { checkCount, NetworkBuilder, type NetworkOptions } from './network-builder.ts'

/** Options of {@link resnet20} and {@link resnet56}. */
export interface ResNetCifarOptions extends NetworkOptions {
  /**
   * Shortcut where the shape changes: `'A'`, every second pixel and zeros for the new channels, without parameters, as
   * the paper uses on CIFAR-10 (default); `'B'`, a 1×1 convolution with batch normalisation.
   */
  readonly shortcut?: 'A' | 'B' | undefined
  /** Factor on the channels of every stage (16, 32, 64); default 1. */
  readonly width?: number | undefined
}

type Shortcut = (b: NetworkBuilder, path: string, x: string, out: number, stride: number) => string

/** Every second row and column, zeros for the channels that are new, half of them on each side. */
const subsampled: Shortcut = (b, path, x, out, stride) => {
  const vector = (values: readonly number[], name: string): string =>
    b.constant(Tensor.int64(values), `${path}.${name}`)
  let y = x
  if (stride > 1) {
    const slices = [vector([0, 0], 'starts'), vector([2 ** 31 - 1, 2 ** 31 - 1], 'ends')]
    y = b.node('Slice', `${path}.slice`, [x, ...slices, vector([2, 3], 'axes'), vector([stride, stride], 'steps')])
  }
  const before = (out - b.channels(x)) >> 1
  const pads = vector([0, before, 0, 0, 0, out - b.channels(x) - before, 0, 0], 'pads')
  return b.node('Pad', `${path}.pad`, [y, pads], { mode: 'constant' }, out)
}

const projected: Shortcut = (b, path, x, out, stride) =>
  b.batchNorm(`${path}.1`, b.conv(`${path}.0`, x, out, { kernel: 1, stride }))

function basicBlock(
  b: NetworkBuilder,
  path: string,
  x: string,
  out: number,
  stride: number,
  shortcut: Shortcut,
): string {
  const first = b.batchNorm(`${path}.bn1`, b.conv(`${path}.conv1`, x, out, { stride }))
  const middle = b.node('Relu', `${path}.relu1`, [first])
  const second = b.batchNorm(`${path}.bn2`, b.conv(`${path}.conv2`, middle, out))
  const straight = stride === 1 && b.channels(x) === out ? x : shortcut(b, `${path}.shortcut`, x, out, stride)
  return b.node('Relu', `${path}.relu2`, [b.node('Add', `${path}.add`, [second, straight])])
}

interface Stages {
  readonly name: string
  /** Channels of the stem and of each stage. */
  readonly channels: readonly number[]
  /** Blocks of each stage; all but the first begin with stride 2. */
  readonly blocks: readonly number[]
  readonly shortcut: Shortcut
  readonly head: string
}

function residualNetwork({ name, channels, blocks, shortcut, head }: Stages, options: NetworkOptions): Model {
  const { classes = 10, seed = 0 } = options
  checkCount('classes', classes)
  const b = new NetworkBuilder(name)
  let y = b.conv('conv1', b.pictures(32), channels[0]!)
  y = b.node('Relu', 'relu1', [b.batchNorm('bn1', y)])
  for (const [stage, count] of blocks.entries())
    for (let block = 0; block < count; block++) {
      const stride = stage > 0 && block === 0 ? 2 : 1
      y = basicBlock(b, `layer${stage + 1}.${block}`, y, channels[stage]!, stride, shortcut)
    }
  return initialize(b.model(b.linear(head, b.pool('pool', y), classes)), { seed })
}

function cifarResNet(blocks: number, options: ResNetCifarOptions): Model {
  const { shortcut = 'A', width = 1 } = options
  const channels = [16, 32, 64].map((count) => Math.round(count * width))
  for (const count of channels) checkCount('width (channels of a stage)', count)
  const stages = { channels, blocks: [blocks, blocks, blocks], shortcut: shortcut === 'A' ? subsampled : projected }
  return residualNetwork({ ...stages, name: `resnet${6 * blocks + 2}`, head: 'linear' }, options)
}

/**
 * ResNet-20 for pictures `[batch, 3, 32, 32]`: 269,722 parameters and 40.6 million MACs with 10 classes.
 *
 * @throws WhittleError `INVALID_ARGUMENT` for a width that leaves a stage without channels.
 */
export function resnet20(options: ResNetCifarOptions = {}): Model {
  return cifarResNet(3, options)
}

/** ResNet-56 for pictures `[batch, 3, 32, 32]`: 853,018 parameters and 125.5 million MACs with 10 classes. */
export function resnet56(options: ResNetCifarOptions = {}): Model {
  return cifarResNet(9, options)
}

/** ResNet-18 with a CIFAR stem, pictures `[batch, 3, 32, 32]`: 11,173,962 parameters and 555.4 million MACs. */
export function resnet18Cifar(options: NetworkOptions = {}): Model {
  const stages = { channels: [64, 128, 256, 512], blocks: [2, 2, 2, 2], shortcut: projected }
  return residualNetwork({ ...stages, name: 'resnet18', head: 'linear' }, options)
}
