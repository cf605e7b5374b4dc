// Which nodes work on integers, and which values become integers for it.
import { describe, expect, test } from 'vitest'
import { NamedGraph, planOf, quantizableOf } from '../../../test/support/quantized.ts'
import { randomTensor } from '../../../test/support/small-network.ts'
import { float, type Model } from '../../graph/index.ts'
import { Tensor } from '../../tensor/index.ts'
import type { Quantizable } from './regions.ts'

const names = (found: Quantizable): string[] => found.nodes.map(({ name }) => name)
const values = (found: Quantizable): string[] => found.tensors.map(({ name }) => name)
const shared = (found: Quantizable): Record<string, string> =>
  Object.fromEntries(found.tensors.flatMap(({ name, sharedWith }) => (sharedWith ? [[name, sharedWith]] : [])))
const reasonFor = (found: Quantizable, name: string): string | undefined =>
  found.skips.find((skip) => skip.name === name)?.reason

const same = { pads: [1, 1, 1, 1] }
const scalar = (value: number): Tensor => Tensor.of(Float32Array.of(value), [])

/** A graph over x [1, 8, 6, 6] with convolutions at hand. */
class Convolutions extends NamedGraph {
  readonly x = this.input('x', 'float32', [1, 8, 6, 6])
  #seed = 0

  conv(name: string, input: string, channels = 8): string {
    const weight = this.constant(randomTensor(++this.#seed, [8, channels, 3, 3]), `${name}.weight`)
    return this.named(name, 'Conv', [input, weight], same)
  }

  linear(name: string, input: string, features: number): string {
    const weight = this.constant(randomTensor(++this.#seed, [features, 4]), `${name}.weight`)
    return this.named(name, 'MatMul', [input, weight])
  }

  finished(output: string, opset?: number): Model {
    this.output(output, 'float32')
    return this.model(opset)
  }
}

describe('integers go on between layers', () => {
  test('through a residual addition: conv, Relu, conv, Add, Relu', async () => {
    const b = new Convolutions()
    const stem = b.named('stem relu', 'Relu', [b.conv('stem', b.x)])
    const sum = b.named('sum', 'Add', [b.conv('body', stem), stem])
    const found = await quantizableOf(b.finished(b.conv('head', b.named('end', 'Relu', [sum]))))
    expect(names(found)).toEqual(['stem', 'stem relu', 'body', 'sum', 'end', 'head'])
    expect(found.nodes.filter(({ removable }) => removable).map(({ name }) => name)).toEqual(['stem relu', 'end'])
    expect(shared(found)).toEqual({ stem: 'stem relu', sum: 'end' })
    expect(found.skips).toEqual([])
  })

  test('through what only moves numbers, with one scale from its input on', async () => {
    const b = new Convolutions()
    const pool = b.named('pool', 'MaxPool', [b.conv('a', b.x)], { kernel_shape: [2, 2], strides: [2, 2] })
    const turned = b.named('turn', 'Transpose', [pool], { perm: [0, 1, 3, 2] })
    const found = await quantizableOf(b.finished(b.conv('b', turned)))
    expect(shared(found)).toEqual({ pool: 'a', turn: 'a' })
  })

  test('where a Relu is before the mover, all share the scale of the Relu', async () => {
    const b = new Convolutions()
    const relu = b.named('relu', 'Relu', [b.conv('a', b.x)])
    const pool = b.named('pool', 'MaxPool', [relu], { kernel_shape: [2, 2] })
    const found = await quantizableOf(b.finished(b.conv('b', pool)))
    expect(shared(found)).toEqual({ a: 'relu', pool: 'relu' })
  })

  test('inputs of Concat have scales of their own', async () => {
    const b = new Convolutions()
    const joined = b.named('join', 'Concat', [b.conv('a', b.x), b.conv('b', b.x)], { axis: 1 })
    const found = await quantizableOf(b.finished(b.conv('c', joined, 16)))
    expect(values(found)).toEqual(['x', 'a', 'b', 'join', 'c'])
    expect(shared(found)).toEqual({})
  })

  test('and not through float operators, whose result is quantized anew for the next layer', async () => {
    const b = new Convolutions()
    const tanh = b.named('tanh', 'Tanh', [b.conv('a', b.x)])
    const found = await quantizableOf(b.finished(b.conv('b', tanh)))
    expect(names(found)).toEqual(['a', 'b'])
    expect(values(found)).toEqual(['x', 'a', 'tanh', 'b'])
    expect(reasonFor(found, 'tanh')).toBe('Operator Tanh has no integer form.')
  })
})

describe('what is left in float', () => {
  test('nodes before the first layer and behind the last', async () => {
    const b = new Convolutions()
    const scaled = b.named('scale', 'Mul', [b.x, b.constant(scalar(0.5))])
    const found = await quantizableOf(b.finished(b.named('end', 'Sigmoid', [b.conv('a', scaled)])))
    expect(names(found)).toEqual(['a'])
    expect(reasonFor(found, 'scale')).toBe('None of its inputs comes in integers.')
    expect(reasonFor(found, 'end')).toContain('Nothing after it works on integers')
  })

  test('the result of a last matrix product, which its kernel gives in float', async () => {
    const b = new Convolutions()
    const flat = b.named('flat', 'Flatten', [b.named('pool', 'GlobalAveragePool', [b.conv('a', b.x)])])
    const found = await quantizableOf(b.finished(b.linear('scores', flat, 8)))
    expect(names(found)).toEqual(['a', 'pool', 'flat', 'scores'])
    expect(values(found)).toEqual(['x', 'a', 'pool', 'flat'])
  })

  test('layers by name, and what stood between them', async () => {
    const b = new Convolutions()
    const model = b.finished(b.conv('c', b.conv('b', b.conv('a', b.x))))
    expect(names(await quantizableOf(model, { skip: ['b'] }))).toEqual(['a', 'c'])
    const only = await quantizableOf(model, { only: ['b'] })
    expect(names(only)).toEqual(['b'])
    expect(only.skips.map(({ name }) => name)).toEqual(['a', 'c'])
    expect(reasonFor(await quantizableOf(model, { excluded: new Map([['a', 'It was slower.']]) }), 'a')).toBe(
      'It was slower.',
    )
    await expect(quantizableOf(model, { skip: ['d*'] })).rejects.toThrow("Option skip: pattern 'd*' matches no node.")
  })

  test('operators that a target does not want', async () => {
    const b = new Convolutions()
    const leaky = b.named('leaky', 'LeakyRelu', [b.conv('a', b.x)])
    const found = await quantizableOf(b.finished(b.conv('b', leaky)), { operators: new Set(['Conv']) })
    expect(names(found)).toEqual(['a', 'b'])
    expect(reasonFor(found, 'leaky')).toBe('Operator LeakyRelu is not faster in integers on the target.')
  })

  test('layers with computed weights or biases, factors, or other types', async () => {
    const b = new Convolutions()
    const computed = b.named('weight', 'Reshape', [b.x, b.constant(Tensor.int64([4, 8, 3, 3]))])
    b.output(b.named('a', 'Conv', [b.x, computed], same), 'float32')
    const flat = b.named('flat', 'Reshape', [b.x, b.constant(Tensor.int64([36, 8]))])
    const weight = b.constant(randomTensor(9, [8, 4]), 'w')
    b.output(b.named('b', 'Gemm', [flat, weight, b.named('bias', 'ReduceMax', [b.x], { keepdims: 0 })]), 'float32')
    const found = await quantizableOf(b.finished(b.named('c', 'Gemm', [flat, weight], { alpha: float(2) })))
    expect(names(found)).toEqual([])
    expect(reasonFor(found, 'a')).toBe("Its weight 'weight' is not constant.")
    expect(reasonFor(found, 'b')).toBe("Its bias 'bias' is not constant.")
    expect(reasonFor(found, 'c')).toBe('Its factors alpha 2 and beta 1 must be 1.')
  })

  test('constants that stand for infinity', async () => {
    const b = new Convolutions()
    const masked = b.named('mask', 'Add', [b.conv('a', b.x), b.constant(scalar(-3.4e38), 'much')])
    const found = await quantizableOf(b.finished(b.conv('b', masked)))
    expect(reasonFor(found, 'mask')).toBe("Its constant 'much' has numbers that no scale can hold.")
  })

  test('MaxPool before opset 12', async () => {
    const b = new Convolutions()
    const pool = b.named('pool', 'MaxPool', [b.conv('a', b.x)], { kernel_shape: [2, 2] })
    const found = await quantizableOf(b.finished(b.conv('b', pool), 11))
    expect(reasonFor(found, 'pool')).toBe('Operator MaxPool takes integers from opset 12 on; the model has 11.')
  })
})

test('a quantized model is refused, naming what it has', async () => {
  const b = new Convolutions()
  const zero = b.constant(Tensor.of(Uint8Array.of(0), []))
  b.named('q', 'QuantizeLinear', [b.x, b.constant(scalar(1), 's'), zero])
  const model = b.finished(b.named('d', 'DequantizeLinear', ['q', 's', zero]))
  await expect(quantizableOf(model)).rejects.toThrow(
    "Model 'graph': must be in float to be quantized; it is quantized already (1 QuantizeLinear, 1 DequantizeLinear).",
  )
})

describe('a Relu or Clip goes away', () => {
  const clipped = async (max: number, range: { min: number; max: number }, options = {}) => {
    const b = new Convolutions()
    const clip = b.named('clip', 'Clip', [b.conv('a', b.x), b.constant(scalar(0)), b.constant(scalar(max))])
    const model = b.finished(b.conv('b', clip))
    const given = { x: { min: -1, max: 1 }, clip: range, b: { min: -1, max: 1 } }
    const plan = await planOf(model, given, options)
    return {
      removed: plan.steps.filter((step) => step.removed).map(({ node }) => node),
      tensors: plan.activations.map(({ tensor }) => tensor),
      range: plan.activations.find(({ tensor }) => tensor === 'clip')!.range,
    }
  }

  test('where the integers end where it cuts', async () => {
    expect(await clipped(6, { min: 0, max: 6 })).toMatchObject({ removed: ['clip'], tensors: ['x', 'clip', 'b'] })
    expect(await clipped(6, { min: 0, max: 2 })).toMatchObject({ removed: ['clip'] })
  })

  test('where a measured range reaches further, for it is cut to what the Clip lets through', async () => {
    expect(await clipped(6, { min: -0.1, max: 7 })).toMatchObject({ removed: ['clip'], range: { min: 0, max: 6 } })
  })

  test('but not where integers with zero in the middle reach below it, nor when it is to be kept', async () => {
    const kept = { removed: [], tensors: ['x', 'a', 'clip', 'b'] }
    expect(await clipped(6, { min: 0, max: 6 }, { activations: 'int8', activationsSymmetric: true })).toMatchObject(
      kept,
    )
    expect(await clipped(6, { min: 0, max: 6 }, { keepRemovableActivations: true })).toMatchObject(kept)
  })

  test('but not where something else reads its input', async () => {
    const b = new Convolutions()
    const a = b.conv('a', b.x)
    const model = b.finished(b.conv('b', b.named('sum', 'Add', [b.named('relu', 'Relu', [a]), a])))
    const found = await quantizableOf(model)
    expect(found.nodes.find(({ name }) => name === 'relu')).toMatchObject({ removable: false })
    expect(shared(found)).toEqual({})
  })
})

test('Softmax has the range 0 … 1 whatever was measured', async () => {
  const b = new Convolutions()
  const soft = b.named('soft', 'Softmax', [b.conv('a', b.x)])
  const model = b.finished(b.conv('b', soft))
  const range = { min: 0, max: 0.3 }
  const plan = await planOf(model, { x: range, a: range, soft: range, b: range })
  expect(plan.activations.find(({ tensor }) => tensor === 'soft')).toMatchObject({
    algorithm: 'fixed',
    range: { min: 0, max: 1 },
    quantization: { scale: [Math.fround(1 / 255)], zeroPoint: [0] },
  })
})

test('a range that is missing is an error that names the value', async () => {
  const b = new Convolutions()
  await expect(planOf(b.finished(b.conv('a', b.x)), { x: { min: 0, max: 1 } })).rejects.toThrow(
    "Quantization: every activation needs a range; 1 have none, first 'a'. Calibrate them.",
  )
})
