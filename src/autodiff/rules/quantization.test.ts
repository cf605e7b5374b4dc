import { describe, expect, it } from 'vitest'
import { expectGradient } from '../../../test/support/gradient-check.ts'
import { evaluator } from '../../../test/support/run-model.ts'
import { randomTensor, relativeErrorOf } from '../../../test/support/tensors.ts'
import { observeShapes, withOutputs } from '../../engine/index.ts'
import { GraphBuilder, type Model } from '../../graph/index.ts'
import { Tensor, toFloat64 } from '../../tensor/index.ts'
import { gradient } from '../gradient.ts'

/** Gradients of Σ y·factors by the given values. */
async function slopes(model: Model, y: string, factors: Tensor, by: readonly string[]): Promise<Float64Array[]> {
  const types = new Map(await observeShapes(evaluator, withOutputs(model, [y])))
  model.graph.initializers.set('seed', factors)
  types.set('seed', factors)
  const result = gradient(model, { seeds: new Map([[y, 'seed']]), withRespectTo: by, types })
  const names = by.map((value) => result.gradients.get(value)!)
  const executable = await evaluator.load(withOutputs(result.model, [...new Set(names)]))
  const outputs = await executable.run({})
  await executable.release()
  return names.map((name) => toFloat64(outputs[name]!))
}

describe('straight-through gradients', () => {
  it('Round passes them on', async () => {
    const b = new GraphBuilder()
    const x = b.constant(randomTensor([3, 4], 1), 'x')
    const y = b.op('Round', [x])
    b.output(y, 'float32')
    const factors = randomTensor([3, 4], 2)
    const [dx] = await slopes(b.model(18), y, factors, ['x'])
    expect([...dx!]).toEqual([...toFloat64(factors)])
  })

  /** Rows of three channels; the second axis is quantized per channel where there are three scales. */
  const cases = [
    { name: 'per tensor, uint8', scales: [0.006], zeros: Uint8Array.of(100), low: 0, high: 255, axis: undefined },
    {
      name: 'per channel, int8',
      scales: [0.005, 0.01, 0.02],
      zeros: Int8Array.of(0, 0, 0),
      low: -128,
      high: 127,
      axis: 1,
    },
    { name: 'without zero point', scales: [0.01], zeros: undefined, low: 0, high: 255, axis: undefined },
    { name: 'along the last axis', scales: [0.01, 0.002], zeros: Int8Array.of(3, -4), low: -128, high: 127, axis: -1 },
  ] as const
  for (const { name, scales, zeros, low, high, axis } of cases)
    it(`quantized and back ${name}: as learned step size quantization has it`, async () => {
      const shape = [4, 3, 2]
      const b = new GraphBuilder()
      const x = b.constant(randomTensor(shape, 3), 'x')
      const scaleShape = scales.length === 1 ? [] : [scales.length]
      const s = b.constant(Tensor.of(Float32Array.from(scales), scaleShape), 's')
      const z = zeros === undefined ? [] : [b.constant(Tensor.of(zeros, scaleShape), 'z')]
      const q = b.op('QuantizeLinear', [x, s, ...z], { axis })
      const y = b.op('DequantizeLinear', [q, s, ...z], { axis })
      b.output(y, 'float32')
      const factors = randomTensor(shape, 4)
      const [dx, ds] = await slopes(b.model(18), y, factors, ['x', 's'])
      const expectedX = new Float64Array(24)
      const expectedS = new Float64Array(scales.length)
      let saturated = 0
      const [values, g] = [toFloat64(randomTensor(shape, 3)), toFloat64(factors)]
      for (let i = 0; i < 24; i++) {
        const channel = scales.length === 1 ? 0 : axis === 1 ? Math.floor(i / 2) % 3 : i % 2
        const [scale, zero] = [Math.fround(scales[channel]!), zeros?.[channel] ?? 0]
        const ratio = values[i]! / scale
        const level = Math.round(ratio) + zero
        const inside = level >= low && level <= high
        if (!inside) saturated++
        const clipped = Math.min(high, Math.max(low, level)) - zero
        expectedX[i] = inside ? g[i]! : 0
        expectedS[channel]! += g[i]! * (inside ? clipped - ratio : clipped)
      }
      expect(saturated).toBeGreaterThan(1)
      expect(saturated).toBeLessThan(22)
      expect(relativeErrorOf(expectedX, dx!)).toBeLessThan(1e-6)
      expect(relativeErrorOf(expectedS, ds!)).toBeLessThan(1e-5)
    })

  it('a dequantized weight has the gradient of its scale', async () => {
    const q = Tensor.of(Int8Array.of(1, -2, 3, 4, 5, -6), [2, 3])
    for (const [scale, axis] of [
      [[], 1],
      [[3], 1],
      [[2], 0],
    ] as const)
      await expectGradient(
        'DequantizeLinear',
        { inputs: [q, scale], attributes: { axis }, precision: 'float32' },
        { numeric: 2e-5 },
      )
  })

  it('passes integers that are moved between quantizing and dequantizing', async () => {
    const b = new GraphBuilder()
    const x = b.constant(randomTensor([2, 3], 5), 'x')
    const s = b.constant(Tensor.of(Float32Array.of(0.1), []))
    const z = b.constant(Tensor.of(Int8Array.of(0), []))
    const turned = b.op('Transpose', [b.op('QuantizeLinear', [x, s, z])], { perm: [1, 0] })
    const y = b.op('DequantizeLinear', [turned, s, z])
    b.output(y, 'float32')
    const factors = randomTensor([3, 2], 6)
    const [dx] = await slopes(b.model(18), y, factors, ['x'])
    const g = toFloat64(factors)
    expect(relativeErrorOf(Float64Array.of(g[0]!, g[2]!, g[4]!, g[1]!, g[3]!, g[5]!), dx!)).toBeLessThan(1e-6)
  })

  it('scales per block are refused', async () => {
    const b = new GraphBuilder()
    const x = b.constant(randomTensor([2, 4], 5), 'x')
    const s = b.constant(Tensor.of(new Float32Array(4).fill(0.1), [2, 2]), 's')
    const z = b.constant(Tensor.of(new Int8Array(4), [2, 2]))
    const y = b.op('DequantizeLinear', [b.op('QuantizeLinear', [x, s, z], { block_size: 2 }), s, z], { block_size: 2 })
    b.output(y, 'float32')
    const types = new Map<string, { dtype: 'float32' | 'int8'; shape: number[] }>()
    for (const name of ['x', y]) types.set(name, { dtype: 'float32', shape: [2, 4] })
    for (const node of b.graph.nodes)
      types.set(node.outputs[0]!, { dtype: node.outputs[0] === y ? 'float32' : 'int8', shape: [2, 4] })
    const model = b.model(21)
    model.graph.initializers.set('seed', randomTensor([2, 4], 1))
    types.set('seed', { dtype: 'float32', shape: [2, 4] })
    expect(() => gradient(model, { seeds: new Map([[y, 'seed']]), withRespectTo: ['x'], types })).toThrow(
      /scales per block have no gradient rule; it has 'block_size'\.$/,
    )
  })
})
