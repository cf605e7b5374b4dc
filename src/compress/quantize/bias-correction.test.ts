import { describe, expect, it } from 'vitest'
import { outputError, runModel } from '../../../test/support/run-model.ts'
import { randomTensor, relativeErrorOf } from '../../../test/support/tensors.ts'
import { float, GraphBuilder, type Model } from '../../graph/index.ts'
import { fromNumbers, type Tensor, toFloat64 } from '../../tensor/index.ts'
import { findSites } from '../sites.ts'
import { correctBiases, weightShift } from './bias-correction.ts'

/** Mean over everything but one axis. */
function means(tensor: Tensor, axis: number): Float64Array {
  const extent = tensor.shape[axis]!
  const after = tensor.shape.slice(axis + 1).reduce((a, b) => a * b, 1)
  const sums = new Float64Array(extent)
  toFloat64(tensor).forEach((value, i) => {
    sums[Math.floor(i / after) % extent]! += value
  })
  return sums.map((sum) => (sum * extent) / tensor.size)
}

interface Layer {
  readonly op: string
  readonly input: number[]
  readonly weight: number[]
  readonly bias?: number[]
  readonly attributes?: Record<string, number | ReturnType<typeof float>>
}

function layerModel({ op, input, weight, bias, attributes = {} }: Layer, change?: (weight: Tensor) => Tensor): Model {
  const b = new GraphBuilder()
  const w = randomTensor(weight, 1)
  const inputs = [b.input('x', 'float32', input), b.constant(change ? change(w) : w, 'w')]
  if (op === 'MatMul' && bias) b.op('Add', [b.op(op, inputs), b.constant(randomTensor(bias, 2), 'b')], {}, 'y')
  else b.op(op, bias ? [...inputs, b.constant(randomTensor(bias, 2), 'b')] : inputs, attributes, 'y')
  b.output('y', 'float32')
  return b.model()
}

/** Rounding that always goes down moves means as rounding to nearest does not. */
const floored = (weight: Tensor): Tensor =>
  fromNumbers(
    toFloat64(weight).map((x) => Math.floor(x * 4) / 4),
    weight.shape,
    weight.dtype,
  )

const layers: [string, Layer, number][] = [
  ['Conv with a bias', { op: 'Conv', input: [2, 3, 8, 8], weight: [4, 3, 3, 3], bias: [4] }, 1],
  ['Conv without one', { op: 'Conv', input: [2, 3, 8, 8], weight: [4, 3, 1, 1] }, 1],
  ['a depthwise Conv', { op: 'Conv', input: [2, 4, 8, 8], weight: [4, 1, 3, 3], attributes: { group: 4 } }, 1],
  ['ConvTranspose', { op: 'ConvTranspose', input: [2, 3, 5, 5], weight: [3, 4, 1, 1], bias: [4] }, 1],
  [
    'Gemm',
    { op: 'Gemm', input: [7, 3], weight: [3, 4], bias: [1, 4], attributes: { alpha: float(2), beta: float(0.25) } },
    1,
  ],
  [
    'Gemm with one number as bias',
    { op: 'Gemm', input: [7, 3], weight: [4, 3], bias: [1], attributes: { transB: 1 } },
    1,
  ],
  ['MatMul with an Add', { op: 'MatMul', input: [2, 5, 3], weight: [3, 4], bias: [4] }, 2],
]

describe('correctBiases', () => {
  it.each(layers)('takes back the shift of %s', async (_, layer, axis) => {
    const feeds = { x: randomTensor(layer.input, 5) }
    const [float32, rounded] = [layerModel(layer), layerModel(layer, floored)]
    const [y, z] = [(await runModel(float32, feeds)).y!, (await runModel(rounded, feeds)).y!]
    const [wanted, found] = [means(y, axis), means(z, axis)]
    const name = findSites(rounded).sites[0]!.name
    const { model, record } = correctBiases(rounded, new Map([[name, wanted.map((mean, i) => mean - found[i]!)]]))
    expect(record.layers).toHaveLength(1)
    expect(relativeErrorOf(wanted, found)).toBeGreaterThan(0.005)
    expect(relativeErrorOf(wanted, means((await runModel(model, feeds)).y!, axis))).toBeLessThanOrEqual(1e-5)
  })

  it('leaves a MatMul without a bias, with the reason, and refuses what does not fit', () => {
    const model = layerModel({ op: 'MatMul', input: [2, 3], weight: [3, 4] })
    const name = model.graph.nodes[0]!.name
    const { record } = correctBiases(model, new Map([[name, new Float64Array(4)]]))
    expect(record.skips).toEqual([{ name, reason: 'It is a MatMul without a bias after it.' }])
    expect(() => correctBiases(model, new Map([['z', new Float64Array(4)]]))).toThrow("'z' is no layer")
    expect(() => correctBiases(model, new Map([[name, new Float64Array(3)]]))).toThrow(
      '4 channels need as many shifts; got 3',
    )
    expect(() => correctBiases(model, new Map([[name, Float64Array.of(0, Number.NaN, 0, 0)]]))).toThrow(
      'channel 1 is NaN',
    )
  })

  it('changes nothing where all shifts are zero', async () => {
    const model = layerModel({ op: 'Conv', input: [2, 3, 8, 8], weight: [4, 3, 3, 3] })
    const corrected = correctBiases(model, new Map([[model.graph.nodes[0]!.name, new Float64Array(4)]])).model
    expect(corrected.graph.nodes[0]!.inputs).toEqual(model.graph.nodes[0]!.inputs)
    expect(await outputError(model, corrected, { x: randomTensor([2, 3, 8, 8], 5) })).toBe(0)
  })
})

describe('weightShift', () => {
  // Without padding, and where the kernel sees every input equally often, the formula is exact.
  it.each(layers.filter(([, { weight }]) => weight.slice(2).every((extent) => extent === 1)))(
    'says without a run how far rounding the weight of %s moves the mean',
    async (_, layer, axis) => {
      const x = randomTensor(layer.input, 5)
      const [float32, rounded] = [layerModel(layer), layerModel(layer, floored)]
      const [y, z] = [
        means((await runModel(float32, { x })).y!, axis),
        means((await runModel(rounded, { x })).y!, axis),
      ]
      const [site] = findSites(float32).sites
      const shift = weightShift(site!, floored(site!.weight), means(x, site!.op === 'MatMul' ? 2 : 1))
      expect(
        relativeErrorOf(
          y.map((mean, i) => mean - z[i]!),
          shift,
        ),
      ).toBeLessThanOrEqual(1e-4)
    },
  )
})
