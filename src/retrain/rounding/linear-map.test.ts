import { describe, expect, it } from 'vitest'
import { evaluator, runModel } from '../../../test/support/run-model.ts'
import { randomTensor, relativeErrorOf } from '../../../test/support/tensors.ts'
import { findSites } from '../../compress/index.ts'
import { observeShapes } from '../../engine/index.ts'
import { GraphBuilder, type Model } from '../../graph/index.ts'
import { toFloat32 } from '../../tensor/index.ts'
import { type LinearMap, linearMap, matrixOfWeight } from './linear-map.ts'
import { groupColumns, RowCollector } from './rows.ts'

type Attributes = Record<string, number | number[] | string>

/** One layer without bias. */
function layer(op: string, input: readonly number[], weight: readonly number[], attributes: Attributes = {}): Model {
  const b = new GraphBuilder('layer')
  const x = b.input('x', 'float32', ['batch', ...input.slice(1)])
  b.op(op, [x, b.constant(randomTensor(weight, 1), 'w')], attributes, 'y')
  b.output('y', 'float32')
  const model = b.model()
  model.graph.nodes[0]!.name = 'layer'
  return model
}

/** Rows times the weight's matrix, `[count, outputs]`. */
function product(map: LinearMap, rows: Float32Array, weight: Float32Array): Float64Array {
  const { group, groupOutputs, rowLength, channels, taps } = map
  const count = rows.length / (channels * taps)
  const matrix = matrixOfWeight(map, weight)
  const out = new Float64Array(count * group * groupOutputs)
  for (let g = 0; g < group; g++) {
    const x = groupColumns(rows, count, g, group)
    for (let n = 0; n < count; n++)
      for (let o = 0; o < groupOutputs; o++)
        for (let j = 0; j < rowLength; j++)
          out[(n * group + g) * groupOutputs + o]! +=
            x[n * rowLength + j]! * matrix[(g * groupOutputs + o) * rowLength + j]!
  }
  return out
}

const cases: [string, Model, number[]][] = [
  ['a convolution', layer('Conv', [2, 3, 5, 6], [4, 3, 3, 3], { pads: [1, 1, 1, 1] }), [2, 3, 5, 6]],
  [
    'strides, dilations and uneven pads',
    layer('Conv', [2, 3, 9, 8], [4, 3, 3, 2], { pads: [0, 2, 1, 0], strides: [2, 1], dilations: [1, 3] }),
    [2, 3, 9, 8],
  ],
  [
    'automatic pads',
    layer('Conv', [2, 2, 7, 7], [3, 2, 4, 4], { auto_pad: 'SAME_UPPER', strides: [2, 2] }),
    [2, 2, 7, 7],
  ],
  ['groups', layer('Conv', [2, 6, 5, 5], [4, 3, 3, 3], { group: 2 }), [2, 6, 5, 5]],
  [
    'a depthwise convolution',
    layer('Conv', [2, 4, 5, 5], [4, 1, 3, 3], { group: 4, pads: [1, 1, 1, 1] }),
    [2, 4, 5, 5],
  ],
  ['one axis', layer('Conv', [2, 3, 9], [4, 3, 3], { strides: [2] }), [2, 3, 9]],
  ['three axes', layer('Conv', [2, 2, 3, 4, 5], [3, 2, 2, 2, 2]), [2, 2, 3, 4, 5]],
  [
    'a transposed convolution',
    layer('ConvTranspose', [2, 3, 4, 5], [3, 4, 3, 3], { strides: [2, 2], pads: [1, 1, 1, 1], output_padding: [1, 0] }),
    [2, 3, 4, 5],
  ],
  [
    'transposed groups',
    layer('ConvTranspose', [2, 4, 3, 3], [4, 3, 2, 2], { group: 2, strides: [2, 2] }),
    [2, 4, 3, 3],
  ],
  [
    'a transposed convolution with automatic pads',
    layer('ConvTranspose', [2, 2, 4, 4], [2, 3, 4, 4], { auto_pad: 'SAME_LOWER', strides: [3, 3], dilations: [1, 2] }),
    [2, 2, 4, 4],
  ],
  [
    'a given output shape',
    layer('ConvTranspose', [2, 2, 4, 4], [2, 3, 3, 3], { strides: [2, 2], output_shape: [8, 8] }),
    [2, 2, 4, 4],
  ],
  ['a product', layer('MatMul', [2, 5, 6], [6, 4]), [2, 5, 6]],
  ['a Gemm of a transposed weight', layer('Gemm', [3, 6], [4, 6], { transB: 1 }), [3, 6]],
]

describe('linearMap', () => {
  it.each(cases)('reads the rows of %s as ONNX Runtime does', async (_, model, shape) => {
    const x = randomTensor(shape, 2)
    const [site] = findSites(model, await observeShapes(evaluator, model, { feeds: { x } })).sites
    const map = linearMap(site!)
    if (typeof map === 'string') throw new Error(map)
    const { y } = await runModel(model, { x })
    for (const perSample of [Number.POSITIVE_INFINITY, 3]) {
      const [inputs, outputs] = (['input', 'output'] as const).map(
        (side) => new RowCollector(map, side, perSample, 7, 'layer'),
      )
      inputs!.add(x)
      outputs!.add(y!)
      const found = product(map, inputs!.finish(), toFloat32(site!.weight))
      expect(relativeErrorOf(outputs!.finish(), found)).toBeLessThan(1e-6)
    }
  })

  it('refuses samples of another size', async () => {
    const [, model, shape] = cases[0]!
    const x = randomTensor(shape, 2)
    const [site] = findSites(model, await observeShapes(evaluator, model, { feeds: { x } })).sites
    const rows = new RowCollector(linearMap(site!) as LinearMap, 'input', 4, 0, 'layer')
    expect(() => rows.add(randomTensor([2, 3, 5, 7], 1))).toThrow(
      "Layer 'layer': samples must all have one size; its input has 90 elements in one and [2, 3, 5, 7] in a batch.",
    )
  })
})
