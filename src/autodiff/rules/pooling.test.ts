import { describe, expect, it } from 'vitest'
import { expectGradient, type GradientCase } from '../../../test/support/gradient-check.ts'
import { evaluator } from '../../../test/support/run-model.ts'
import { observeShapes } from '../../engine/index.ts'
import { type AttributeInput, GraphBuilder } from '../../graph/index.ts'
import { fromNumbers, sizeOf, Tensor, toFloat64 } from '../../tensor/index.ts'
import { gradient } from '../gradient.ts'

type Attributes = Readonly<Record<string, AttributeInput>>
type Case = readonly [name: string, x: readonly number[], attributes: Attributes]

const MAX_POOLS: readonly Case[] = [
  ['tiles', [2, 3, 4, 6], { kernel_shape: [2, 3], strides: [2, 3] }],
  ['tiles with a remainder', [1, 2, 5, 7], { kernel_shape: [2, 2], strides: [2, 2] }],
  ['tiles of one axis', [2, 3, 6], { kernel_shape: [3], strides: [3] }],
  ['tiles of three axes', [1, 2, 4, 2, 3], { kernel_shape: [2, 2, 3], strides: [2, 2, 3] }],
  ['overlapping', [2, 2, 7, 6], { kernel_shape: [3, 3], strides: [2, 2] }],
  ['overlapping, padded', [1, 2, 6, 5], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }],
  ['of stride 1', [1, 2, 5, 5], { kernel_shape: [3, 2], pads: [1, 0, 1, 1] }],
  ['dilated', [1, 2, 7, 8], { kernel_shape: [2, 3], dilations: [3, 2], strides: [1, 2] }],
  ['with ceil_mode', [1, 2, 6, 7], { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 }],
  ['tiles with ceil_mode', [1, 2, 5, 5], { kernel_shape: [2, 2], strides: [2, 2], ceil_mode: 1 }],
  ['with gaps', [1, 2, 7, 8], { kernel_shape: [2, 2], strides: [3, 3] }],
  ['SAME_UPPER', [1, 2, 5, 6], { kernel_shape: [2, 3], strides: [2, 2], auto_pad: 'SAME_UPPER' }],
  ['one axis, overlapping', [2, 3, 9], { kernel_shape: [3], strides: [2], pads: [1, 1] }],
  ['three axes, overlapping', [1, 2, 4, 5, 3], { kernel_shape: [2, 3, 2], strides: [1, 2, 1] }],
  ['in column order', [1, 2, 4, 6], { kernel_shape: [3, 3], storage_order: 1 }],
]

const AVERAGE_POOLS: readonly Case[] = [
  ['tiles', [2, 3, 4, 6], { kernel_shape: [2, 3], strides: [2, 3] }],
  ['tiles with a remainder', [1, 2, 5, 7], { kernel_shape: [2, 2], strides: [2, 2] }],
  ['overlapping', [2, 2, 7, 6], { kernel_shape: [3, 2], strides: [2, 1] }],
  ['padded', [1, 2, 6, 5], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 0] }],
  [
    'padded, padding counted',
    [1, 2, 6, 5],
    { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 0], count_include_pad: 1 },
  ],
  ['with ceil_mode', [1, 2, 6, 7], { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 }],
  [
    'with ceil_mode, padding counted',
    [1, 2, 6, 7],
    { kernel_shape: [3, 3], strides: [2, 3], pads: [1, 1, 1, 1], ceil_mode: 1, count_include_pad: 1 },
  ],
  ['dilated', [1, 2, 7, 8], { kernel_shape: [2, 3], dilations: [3, 2], strides: [1, 2], pads: [1, 1, 0, 0] }],
  ['SAME_LOWER', [1, 2, 5, 6], { kernel_shape: [2, 3], strides: [2, 2], auto_pad: 'SAME_LOWER' }],
  ['of one axis', [2, 3, 9], { kernel_shape: [3], strides: [2], pads: [1, 1] }],
  ['of three axes', [1, 2, 4, 5, 3], { kernel_shape: [2, 3, 2], strides: [1, 2, 1] }],
]

/** No float64 kernel; linear, so that float32 differences of any width are exact but for rounding. */
const LINEAR = { precision: 'float32', step: 1 } as const

/** (Σ |x|^p)^(1/p) over windows, with the sums as a product with a 0-1 matrix. */
function lpReference(
  x: readonly number[],
  p: number,
  kernel: readonly number[],
  strides: readonly number[],
  pad: number,
): NonNullable<GradientCase['reference']> {
  const [height, width] = x.slice(2) as [number, number]
  const out = [height, width].map(
    (extent, axis) => Math.floor((extent + 2 * pad - kernel[axis]!) / strides[axis]!) + 1,
  ) as [number, number]
  const matrix = new Float64Array(height * width * out[0] * out[1])
  for (let i = 0; i < out[0]; i++)
    for (let j = 0; j < out[1]; j++)
      for (let a = 0; a < kernel[0]!; a++)
        for (let b = 0; b < kernel[1]!; b++) {
          const [row, column] = [i * strides[0]! + a - pad, j * strides[1]! + b - pad]
          if (row < 0 || row >= height || column < 0 || column >= width) continue
          matrix[(row * width + column) * out[0] * out[1] + i * out[1] + j] = 1
        }
  return (builder, [data]) => {
    const power = (value: string, exponent: number): string =>
      builder.op('Pow', [value, builder.constant(Tensor.of(Float64Array.of(exponent), []))])
    const flat = builder.op('Reshape', [data!, builder.constant(Tensor.int64([x[0]!, x[1]!, height * width]))])
    const sums = builder.op('MatMul', [
      power(builder.op('Abs', [flat]), p),
      builder.constant(Tensor.of(matrix, [height * width, out[0] * out[1]])),
    ])
    return [builder.op('Reshape', [power(sums, 1 / p), builder.constant(Tensor.int64([x[0]!, x[1]!, ...out]))])]
  }
}

describe('gradients of poolings', () => {
  for (const [name, x, attributes] of MAX_POOLS)
    it(`MaxPool ${name}`, () => expectGradient('MaxPool', { inputs: [x], attributes }))
  for (const [name, x, attributes] of AVERAGE_POOLS)
    it(`AveragePool ${name}`, () =>
      expectGradient('AveragePool', { inputs: [x], attributes, ...LINEAR }, { numeric: 1e-5 }))

  for (const x of [
    [2, 3, 4, 5],
    [1, 2, 6],
    [2, 2, 2, 3, 2],
  ]) {
    it(`GlobalAveragePool of [${x}]`, () =>
      expectGradient('GlobalAveragePool', { inputs: [x], ...LINEAR }, { numeric: 1e-5 }))
    const axes = x.map((_, axis) => axis).slice(2)
    it(`GlobalMaxPool of [${x}]`, () =>
      expectGradient('GlobalMaxPool', {
        inputs: [x],
        reference: (b, [data]) => [b.op('ReduceMax', [data!, b.constant(Tensor.int64(axes))])],
      }))
    for (const p of [1, 2, 3])
      it(`GlobalLpPool of [${x}] with p = ${p}`, () =>
        expectGradient('GlobalLpPool', {
          inputs: [x],
          attributes: { p },
          reference: (b, [data]) => {
            const power = (value: string, exponent: number): string =>
              b.op('Pow', [value, b.constant(Tensor.of(Float64Array.of(exponent), []))])
            const sum = b.op('ReduceSum', [power(b.op('Abs', [data!]), p), b.constant(Tensor.int64(axes))])
            return [power(sum, 1 / p)]
          },
        }))
  }

  for (const [kernel, strides, pad] of [
    [[2, 2], [2, 2], 0],
    [[3, 2], [1, 2], 0],
    [[3, 3], [2, 2], 1],
  ] as const)
    for (const p of [1, 2, 3])
      it(`LpPool [${kernel}] of strides [${strides}] and padding ${pad} with p = ${p}`, () => {
        const x = [1, 2, 6, 4]
        const attributes = { kernel_shape: kernel, strides, pads: [pad, pad, pad, pad], p }
        return expectGradient('LpPool', { inputs: [x], attributes, reference: lpReference(x, p, kernel, strides, pad) })
      })
})

/** The gradient of Σ y · (1, 2, 3 …) by x. */
async function gradientAt(
  operator: string,
  x: readonly number[],
  shape: readonly number[],
  attributes: Attributes = {},
): Promise<number[]> {
  const b = new GraphBuilder()
  const y = b.op(operator, [b.input('x', 'float32', shape)], attributes, 'y')
  b.output(y, 'float32')
  const model = b.model(20)
  const types = new Map(await observeShapes(evaluator, model))
  const seed = types.get('y')!
  model.graph.initializers.set(
    'seed',
    fromNumbers(
      Float64Array.from({ length: sizeOf(seed.shape) }, (_, i) => i + 1),
      seed.shape,
      'float32',
    ),
  )
  types.set('seed', seed)
  const result = gradient(model, { withRespectTo: ['x'], types, seeds: new Map([['y', 'seed']]) })
  const name = result.gradients.get('x')!
  result.model.graph.outputs = [{ name, type: undefined }]
  const executable = await evaluator.load(result.model)
  const found = await executable.run({ x: Tensor.of(Float32Array.from(x), shape) })
  await executable.release()
  return Array.from(toFloat64(found[name]!))
}

describe('equal maxima: all of the gradient goes to the first, as in PyTorch', () => {
  it('in tiles', async () => {
    const x = [0, 0, 2, 1, 0, 0, 2, 2]
    const found = await gradientAt('MaxPool', x, [1, 1, 2, 4], { kernel_shape: [2, 2], strides: [2, 2] })
    expect(found).toEqual([1, 0, 2, 0, 0, 0, 0, 0])
  })
  it('in tiles of one axis that do not begin with the maximum', async () => {
    const found = await gradientAt('MaxPool', [-3, -1, -1, 5, 5, 5], [1, 1, 6], { kernel_shape: [3], strides: [3] })
    expect(found).toEqual([0, 1, 0, 2, 0, 0])
  })
  it('in overlapping windows', async () => {
    const found = await gradientAt('MaxPool', [1, 1, 1, 0, 1], [1, 1, 5], { kernel_shape: [3], strides: [2] })
    expect(found).toEqual([1, 0, 2, 0, 0])
  })
  it('of whole planes', async () => {
    expect(await gradientAt('GlobalMaxPool', [0, 7, 7, 2, 2, 2], [1, 2, 3])).toEqual([0, 1, 0, 2, 0, 0])
  })
})

describe('windows of zeros', () => {
  it('LpPool gives them no gradient', async () => {
    const found = await gradientAt('LpPool', [0, 0, 3, 4], [1, 1, 4], { kernel_shape: [2], strides: [2] })
    expect(found.slice(0, 2)).toEqual([0, 0])
    expect(found[2]).toBeCloseTo(1.2, 5)
    expect(found[3]).toBeCloseTo(1.6, 5)
  })
})
