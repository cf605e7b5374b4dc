import { describe, expect, it } from 'vitest'
import { evaluator } from '../../test/support/run-model.ts'
import { randomTensor } from '../../test/support/tensors.ts'
import { GRADIENT_RULES, type GradientRule } from '../autodiff/index.ts'
import { observeShapes } from '../engine/index.ts'
import { GraphBuilder, type Model } from '../graph/index.ts'
import { Tensor, toFloat32 } from '../tensor/index.ts'
import { unshareBatchNorms } from './parameters.ts'
import type { StepOptions } from './step-options.ts'
import { createTrainingStep } from './training-step.ts'

/** Gemm 6→3 with its logits times one number */
function scaled(): Model {
  const b = new GraphBuilder()
  const x = b.input('input', 'float32', ['batch', 6])
  const y = b.op('Gemm', [x, b.constant(randomTensor([3, 6], 1), 'weight')], { transB: 1 })
  b.op('Mul', [y, b.constant(Tensor.of(Float32Array.of(1.5), []), 'factor')], {}, 'logits')
  b.output('logits', 'float32', ['batch', 3])
  const model = b.model(18)
  for (const [at, name] of ['gemm', 'times'].entries()) model.graph.nodes[at]!.name = name
  return model
}

const plain: StepOptions = { loss: [{ kind: 'cross-entropy' }], optimizer: { kind: 'sgd', momentum: 0 } }

/** One step. @returns how much each parameter moved, by name. */
async function moves(options: StepOptions): Promise<ReadonlyMap<string, readonly number[]>> {
  const model = scaled()
  const types = await observeShapes(evaluator, model, { inputShapes: { input: [8, 6] } })
  const training = await createTrainingStep(evaluator, model, { ...options, types })
  const before = model.graph.initializers
  await training.step([randomTensor([8, 6], 2)], Int32Array.of(0, 1, 2, 0, 1, 2, 0, 1), 0.1)
  const after = training.weights()
  await training.release()
  return new Map(
    [...after].map(([name, tensor]) => {
      const from = toFloat32(before.get(name)!)
      return [name, [...toFloat32(tensor)].map((value, at) => value - from[at]!)]
    }),
  )
}

describe('settings of parameters', () => {
  it('single numbers are trained where that is asked for', async () => {
    expect([...(await moves(plain)).keys()]).toEqual(['weight'])
    const both = await moves({ ...plain, parameters: ['factor'] })
    expect(Math.abs(both.get('factor')![0]!)).toBeGreaterThan(1e-3)
  })

  it('scaled gradients make smaller steps, and count less in the norm', async () => {
    const whole = await moves(plain)
    const half = await moves({ ...plain, groups: [{ match: ['weight'], gradientScale: 0.5 }] })
    for (const [at, move] of whole.get('weight')!.entries()) expect(half.get('weight')![at]! / move).toBeCloseTo(0.5, 3)
    const clip = { norm: 1e-3 }
    const options = { ...plain, parameters: ['factor'], clip }
    const clipped = await moves(options)
    const without = await moves({ ...options, groups: [{ match: ['weight'], gradientScale: 0 }] })
    // Alone under the bound, the factor moves by all of it.
    expect(Math.abs(clipped.get('factor')![0]!)).toBeLessThan(0.9e-4)
    expect(Math.abs(without.get('factor')![0]!)).toBeCloseTo(1e-4, 6)
  })

  it('elements that would leave their bounds stay where they are', async () => {
    const free = (await moves(plain)).get('weight')!
    const weight = [...toFloat32(randomTensor([3, 6], 1))]
    const least = weight[free.findIndex((move) => move < -1e-4)]!
    const most = weight[free.findIndex((move) => move > 1e-4)]!
    const bounded = (await moves({ ...plain, groups: [{ match: ['weight'], least, most }] })).get('weight')!
    for (const [at, move] of free.entries()) {
      const next = Math.fround(weight[at]! + move)
      const isMade = next >= least && next <= most
      expect(bounded[at]).toBe(isMade ? move : 0)
    }
    expect(bounded.filter((move) => move === 0).length).toBeGreaterThan(1)
  })

  it('rules of the caller’s come before the standard ones', async () => {
    const triple: GradientRule = (context) => {
      const { node, gradients, emit } = context
      return node.name === 'times' ? [emit.scale(gradients[0]!, 3)] : GRADIENT_RULES.Mul!(context)
    }
    const still = await moves({ ...plain, rules: { Mul: triple } })
    const usual = await moves(plain)
    // The standard rule multiplies by the factor, 1.5.
    expect(still.get('weight')![0]! / usual.get('weight')![0]!).toBeCloseTo(2, 3)
  })
})

describe('unshareBatchNorms', () => {
  it('leaves parameters alone that only the normalisation’s own bias is computed from', () => {
    const b = new GraphBuilder()
    const x = b.input('input', 'float32', [2, 3, 4, 4])
    const vector = (name: string) => b.constant(Tensor.of(new Float32Array(3), [3]), name)
    const [scale, shift, mean, variance] = ['scale', 'shift', 'mean', 'variance'].map(vector) as [
      string,
      string,
      string,
      string,
    ]
    const bias = b.op('Add', [shift, b.op('Mul', [mean, scale])])
    b.op('BatchNormalization', [x, scale, bias, mean, variance], {}, 'y')
    b.op('BatchNormalization', ['y', scale, vector('other'), vector('m'), vector('v')], {}, 'z')
    b.output('z', 'float32')
    const [first, second] = unshareBatchNorms(b.model(18)).graph.nodes.filter(
      ({ opType }) => opType === 'BatchNormalization',
    )
    expect(first!.inputs.slice(3)).toEqual(['mean', 'variance'])
    // The scale is two layers'.
    expect(first!.inputs[1]).not.toBe(second!.inputs[1])
  })
})
