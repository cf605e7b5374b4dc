/**
 * VGG in the CIFAR form: the convolutions of Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
 * Recognition", 2015, table 1 (A and D), each followed by batch normalisation, and one linear layer on the 1 × 1 pixels
 * that five poolings leave of 32 × 32.
 */
import type { Model } from '../graph/index.ts'
import { initialize } from './initialize.ts'
import { checkCount, NetworkBuilder, type NetworkOptions } from './network-builder.ts'

/** Options of {@link vgg11} and {@link vgg16Bn}. */
export interface VggOptions extends NetworkOptions {
  /** Factor on the channels of every convolution (64 … 512); default 1. */
  readonly width?: number | undefined
  /**
   * Whether convolutions have a bias before their batch normalisation, as torchvision's have; default no: it has no
   * effect and costs time.
   */
  readonly bias?: boolean | undefined
}

const POOL = 'pool'
const CONVOLUTIONS: Readonly<Record<string, readonly (number | typeof POOL)[]>> = {
  vgg11: [64, POOL, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512, POOL],
  vgg16: [64, 64, POOL, 128, 128, POOL, 256, 256, 256, POOL, 512, 512, 512, POOL, 512, 512, 512, POOL],
}

function vgg(name: string, options: VggOptions): Model {
  const { width = 1, classes = 10, bias = false, seed = 0 } = options
  checkCount('classes', classes)
  const b = new NetworkBuilder(name)
  let y = b.pictures(32)
  let index = 0
  for (const step of CONVOLUTIONS[name]!) {
    if (step === POOL) {
      y = b.node('MaxPool', `features.${index}`, [y], { kernel_shape: [2, 2], strides: [2, 2] })
      index += 1
      continue
    }
    const out = Math.round(step * width)
    checkCount('width (channels of a convolution)', out)
    y = b.batchNorm(`features.${index + 1}`, b.conv(`features.${index}`, y, out, { bias }))
    y = b.node('Relu', `features.${index + 2}`, [y])
    index += 3
  }
  const flat = b.node('Flatten', 'flatten', [y], { axis: 1 })
  return initialize(b.model(b.linear('classifier', flat, classes)), { seed })
}

/**
 * VGG-16 with batch normalisation for pictures `[batch, 3, 32, 32]`: 14,724,042 parameters and 313.2 million MACs.
 *
 * @throws WhittleError `INVALID_ARGUMENT` for a width that leaves a convolution without channels.
 */
export function vgg16Bn(options: VggOptions = {}): Model {
  return vgg('vgg16', options)
}

/** VGG-11 with batch normalisation for pictures `[batch, 3, 32, 32]`: 9,228,362 parameters and 152.8 million MACs. */
export function vgg11(options: VggOptions = {}): Model {
  return vgg('vgg11', options)
}
