import { describe, expect, it } from 'vitest'
import { evaluator, runModel } from '../../test/support/run-model.ts'
import { randomTensor } from '../../test/support/tensors.ts'
import { observeShapes } from '../engine/index.ts'
import { assertModel, type Model, modelCost } from '../graph/index.ts'
import { sizeOf, toFloat64 } from '../tensor/index.ts'
import { mobileNetV2, resnet18Cifar, resnet20, resnet56, vgg11, vgg16Bn } from './index.ts'

const networks: readonly (readonly [string, Model, number, number])[] = [
  // 0.27 and 0.85 million and, for ResNet-56, 125.49 million MACs; option B adds two 1×1 convolutions with normalisation.
  ['ResNet-20', resnet20(), 269_722, 40_551_040],
  ['ResNet-20, shortcut B', resnet20({ shortcut: 'B' }), 272_474, 40_813_184],
  ['ResNet-56', resnet56(), 853_018, 125_485_696],
  // kuangliu/pytorch-cifar; VGG there has biases before its normalisations.
  ['ResNet-18', resnet18Cifar(), 11_173_962, 555_422_720],
  ['VGG-16', vgg16Bn(), 14_724_042, 313_201_664],
  ['VGG-16 with biases', vgg16Bn({ bias: true }), 14_728_266, 313_201_664],
  ['VGG-11', vgg11({ bias: true }), 9_231_114, 152_769_536],
  // torchvision: 3,504,872 parameters with 1000 classes and 0.30 GMACs at 224 pixels; 2,236,682 with 10.
  // kuangliu's 2,296,922 for CIFAR also projects shortcuts where only channels change.
  ['MobileNetV2 of the paper', mobileNetV2({ classes: 1000, resolution: 224 }), 3_504_872, 300_774_272],
  ['MobileNetV2 for CIFAR', mobileNetV2(), 2_236_682, 87_976_448],
]

describe('networks', () => {
  it.each(networks)('%s has the published parameters and MACs', async (_, model, parameters, macs) => {
    assertModel(model)
    const cost = modelCost(model, await observeShapes(evaluator, model))
    expect([cost.parameters, cost.macs]).toEqual([parameters, macs])
  })

  it.each(networks.filter(([name]) => !name.includes('paper')))('%s runs on any batch', async (_, model) => {
    const { logits } = await runModel(model, { input: randomTensor([2, 3, 32, 32], 1) })
    expect(logits!.shape).toEqual([2, 10])
    const values = toFloat64(logits!)
    expect(values.every(Number.isFinite)).toBe(true)
    expect(new Set(values).size).toBe(20)
  })

  it('has torchvision-like paths', () => {
    const { graph } = resnet20()
    expect(graph.nodes.map((node) => node.name)).toContain('layer2.0.conv1')
    expect(graph.initializers.get('layer3.2.bn2.running_var')!.shape).toEqual([64])
    expect(vgg16Bn({ width: 0.25 }).graph.initializers.get('features.0.weight')!.shape).toEqual([16, 3, 3, 3])
  })

  it('keeps the mean activation alive through ResNet-56 at the start', async () => {
    const { logits } = await runModel(resnet56(), { input: randomTensor([4, 3, 32, 32], 2) })
    const values = toFloat64(logits!)
    const spread = Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0) / sizeOf(logits!.shape))
    expect(spread).toBeGreaterThan(0.1)
    expect(spread).toBeLessThan(1e6)
  })

  it('refuses widths without channels and wrong classes', () => {
    expect(() => vgg16Bn({ width: 0 })).toThrow(
      'Option width (channels of a convolution): must be a whole number of at least 1; got 0.',
    )
    expect(() => resnet20({ classes: 0 })).toThrow('Option classes: must be a whole number of at least 1; got 0.')
  })
})
