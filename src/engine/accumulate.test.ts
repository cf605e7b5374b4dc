import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { randomTensor, relativeErrorOf } from '../../test/support/tensors.ts'
import { GraphBuilder, type Model, type TensorMap } from '../graph/index.ts'
import { fromNumbers, Tensor, toFloat32 } from '../tensor/index.ts'
import { collectMoments, type MomentRequest } from './accumulate.ts'
import { createEvaluator } from './evaluator.ts'

const evaluator = createEvaluator(ort, { threads: 2 })

/** Every row the weight is applied to, by definition: `rows[group][row]` in (channel, kernel position) order. */
function patches(x: Tensor, request: MomentRequest): number[][][] {
  const data = toFloat32(x)
  if (request.kind === 'linear') {
    const features = x.shape[x.shape.length - 1]!
    return [Array.from({ length: x.size / features }, (_, r) => [...data.subarray(r * features, (r + 1) * features)])]
  }
  const [samples = 0, channels = 0, ...lengths] = x.shape
  const kernel = request.kernel ?? lengths.map(() => 1)
  const strides = request.strides ?? kernel.map(() => 1)
  const dilations = request.dilations ?? kernel.map(() => 1)
  const pads = request.pads ?? [...kernel, ...kernel].map(() => 0)
  const group = request.group ?? 1
  const out = lengths.map((length, axis) => {
    const reach = (kernel[axis]! - 1) * dilations[axis]! + 1
    return Math.floor((length + pads[axis]! + pads[kernel.length + axis]! - reach) / strides[axis]!) + 1
  })
  const rows: number[][][] = Array.from({ length: group }, () => [])
  for (let n = 0; n < samples; n++)
    for (const position of indices(out))
      for (let g = 0; g < group; g++) {
        const row: number[] = []
        for (let c = (g * channels) / group; c < ((g + 1) * channels) / group; c++)
          for (const tap of indices(kernel)) {
            const at = tap.map((k, axis) => position[axis]! * strides[axis]! + k * dilations[axis]! - pads[axis]!)
            const inside = at.every((index, axis) => index >= 0 && index < lengths[axis]!)
            const flat = at.reduce((sum, index, axis) => sum * lengths[axis]! + index, n * channels + c)
            row.push(inside ? data[flat]! : 0)
          }
        rows[g]!.push(row)
      }
  return rows
}

function* indices(extents: readonly number[]): Generator<number[]> {
  const total = extents.reduce((product, extent) => product * extent, 1)
  for (let flat = 0; flat < total; flat++) {
    const index: number[] = []
    let rest = flat
    for (const extent of extents.toReversed()) {
      index.unshift(rest % extent)
      rest = Math.floor(rest / extent)
    }
    yield index
  }
}

function gramOf(rows: readonly number[][]): { gram: Float64Array; mean: Float64Array } {
  const size = rows[0]!.length
  const gram = new Float64Array(size * size)
  const mean = new Float64Array(size)
  for (const row of rows)
    for (let i = 0; i < size; i++) {
      mean[i]! += row[i]! / rows.length
      for (let j = 0; j < size; j++) gram[i * size + j]! += row[i]! * row[j]!
    }
  return { gram, mean }
}

/** x → Identity → value → Relu → y */
function throughModel(shape: readonly (number | string)[], dtype: 'float32' | 'float16' = 'float32'): Model {
  const b = new GraphBuilder()
  const value = b.op('Identity', [b.input('x', dtype, shape)], {}, 'value')
  b.op('Relu', [value], {}, 'y')
  b.output('y', dtype)
  return b.model()
}

async function* stream(batches: readonly TensorMap[]): AsyncGenerator<TensorMap> {
  yield* batches
}

const conv = { site: 'layer', value: 'value', kind: 'conv' } as const

describe('collectMoments', () => {
  const flavours: [string, number[], MomentRequest][] = [
    ['a linear layer', [3, 7, 5], { ...conv, kind: 'linear' }],
    ['a wide linear layer cut into blocks', [4, 1600], { ...conv, kind: 'linear' }],
    ['a 1×1 convolution', [3, 4, 5, 6], { ...conv, kernel: [1, 1] }],
    ['a 1×1 convolution with stride', [2, 4, 5, 6], { ...conv, kernel: [1, 1], strides: [2, 3] }],
    ['a padded 3×3 convolution', [2, 3, 6, 5], { ...conv, kernel: [3, 3], pads: [1, 1, 1, 1] }],
    [
      'stride, dilation and uneven pads',
      [2, 3, 11, 9],
      { ...conv, kernel: [3, 2], strides: [2, 3], dilations: [2, 1], pads: [0, 1, 2, 3] },
    ],
    ['a 1-D convolution', [3, 4, 20], { ...conv, kernel: [5], strides: [2], pads: [3, 1] }],
    [
      'a 3-D convolution',
      [2, 2, 5, 4, 6],
      { ...conv, kernel: [3, 1, 2], strides: [1, 2, 1], dilations: [1, 1, 2], pads: [1, 0, 1, 1, 0, 0] },
    ],
    ['groups', [2, 6, 5, 5], { ...conv, kernel: [3, 3], group: 3, pads: [1, 1, 1, 1] }],
    ['a depthwise convolution', [2, 5, 6, 6], { ...conv, kernel: [3, 3], group: 5, strides: [2, 2] }],
    ['grouped 1×1', [2, 6, 5, 5], { ...conv, kernel: [1, 1], group: 2 }],
    ['a kernel so large that columns come in blocks', [1, 100, 5, 5], { ...conv, kernel: [4, 4], pads: [1, 1, 1, 1] }],
    ['the channels of a transposed convolution', [3, 6, 4, 5], { ...conv, kind: 'pointwise' }],
    ['the channels of a grouped transposed convolution', [3, 6, 4], { ...conv, kind: 'pointwise', group: 2 }],
    ['negative pads', [2, 3, 7, 7], { ...conv, kernel: [2, 2], pads: [-1, 0, 0, -2] }],
  ]
  it.each(flavours)('equals the definition for %s', async (_, shape, request) => {
    const batches = [randomTensor(shape, 1), randomTensor(shape, 2)]
    const model = throughModel(['n', ...shape.slice(1)])
    const result = (await collectMoments(evaluator, model, [request], stream(batches.map((x) => ({ x }))))).get(
      'layer',
    )!
    const groups = batches.map((x) => patches(x, request))
    expect(result.count).toBe(groups[0]![0]!.length * 2)
    expect(result.gram).toHaveLength(request.group ?? 1)
    for (const [group, gram] of result.gram.entries()) {
      const expected = gramOf(groups.flatMap((rows) => rows[group]!))
      expect(relativeErrorOf(expected.gram, gram)).toBeLessThan(1e-6)
      expect(relativeErrorOf(expected.mean, result.mean[group]!)).toBeLessThan(1e-5)
    }
  })

  it('cuts an activation that is too large for one piece by samples and by lines', async () => {
    // The patches of one sample, 800 × 700 of 4 × 9 numbers, take 81 MB; pieces are at most 64 MiB.
    const [height, width] = [1600, 700]
    const numbers = Float32Array.from({ length: 2 * 4 * height * width }, (_, i) => ((i * 7919) % 1009) / 500 - 1)
    const x = Tensor.of(numbers, [2, 4, height, width])
    const request = { ...conv, kernel: [3, 3], strides: [2, 1], pads: [1, 1, 1, 1] }
    const results = await collectMoments(evaluator, throughModel(['n', 4, 'h', 'w']), [request], stream([{ x }]))
    const { gram, count } = results.get('layer')!
    expect(count).toBe(height * width)
    // Channel 1: the first tap times the centre tap.
    const data = numbers
    const expected = { centre: 0, cross: 0 }
    for (let n = 0; n < 2; n++)
      for (let h = 0; h < height; h += 2)
        for (let w = 0; w < width; w++) {
          const at = ((n * 4 + 1) * height + h) * width + w
          expected.centre += data[at]! ** 2
          if (h > 0 && w > 0) expected.cross += data[at]! * data[at - width - 1]!
        }
    expect(Math.abs(gram[0]![13 * 36 + 13]! / expected.centre - 1)).toBeLessThan(1e-6)
    expect(Math.abs(gram[0]![9 * 36 + 13]! - expected.cross) / expected.centre).toBeLessThan(1e-6)
  })

  it('takes float16 activations and values that are inputs of the model', async () => {
    const wide = randomTensor([4, 6], 5)
    const x = fromNumbers(toFloat32(wide), [4, 6], 'float16')
    const request = { ...conv, kind: 'linear', value: 'x' } as const
    const result = (await collectMoments(evaluator, throughModel(['n', 6], 'float16'), [request], stream([{ x }]))).get(
      'layer',
    )!
    expect(relativeErrorOf(gramOf(patches(wide, request)[0]!).gram, result.gram[0]!)).toBeLessThan(1e-3)
  })

  it('computes layers with the same input and form once', async () => {
    const requests: MomentRequest[] = ['q', 'k'].map((site) => ({ ...conv, kind: 'linear', site }))
    const results = await collectMoments(
      evaluator,
      throughModel(['n', 6]),
      requests,
      stream([{ x: randomTensor([4, 6], 5) }]),
    )
    expect(results.get('q')).toBe(results.get('k'))
  })

  it('takes several passes when the sums do not fit at once, and refuses when it may not', async () => {
    const requests: MomentRequest[] = [
      { ...conv, site: 'a', kernel: [3, 3] },
      { ...conv, site: 'b', kernel: [2, 2] },
    ]
    const batch = { x: randomTensor([2, 3, 6, 6], 6) }
    let passes = 0
    const source = () => {
      passes++
      return stream([batch])
    }
    const model = throughModel(['n', 3, 6, 6])
    const memoryBytes = 8 * 27 ** 2
    const [roomy, tight] = [
      await collectMoments(evaluator, model, requests, stream([batch])),
      await collectMoments(evaluator, model, requests, source, { memoryBytes }),
    ]
    expect(passes).toBe(2)
    for (const site of ['a', 'b']) expect(tight.get(site)!.gram[0]).toEqual(roomy.get(site)!.gram[0])
    await expect(collectMoments(evaluator, model, requests, stream([batch]), { memoryBytes })).rejects.toThrow(
      "Moments: the layers 'b' do not fit in 5.7 KiB beside the others. Give the data as a function, so that several passes are possible, or raise memoryBytes.",
    )
    await expect(collectMoments(evaluator, model, requests, source, { memoryBytes: 1000 })).rejects.toThrow(
      "Layer 'a': the second moments of its input need 5.7 KiB; 1.0 KiB are allowed.",
    )
  })

  it('fetches large activations in several runs', async () => {
    const b = new GraphBuilder()
    let value = b.input('x', 'float32', ['n', 3, 6, 6])
    const requests: MomentRequest[] = []
    for (let layer = 0; layer < 4; layer++) {
      value = b.op('Relu', [b.op('Sub', [value, b.constant(randomTensor([3, 1, 1], layer))])])
      requests.push({ ...conv, site: `${layer}`, value, kernel: [2, 2] })
    }
    b.output(value, 'float32')
    const batches = [{ x: randomTensor([2, 3, 6, 6], 7) }, { x: randomTensor([1, 3, 6, 6], 8) }]
    const [one, many] = [
      await collectMoments(evaluator, b.model(), requests, stream(batches)),
      await collectMoments(evaluator, b.model(), requests, stream(batches), { runBytes: 1000 }),
    ]
    for (const { site } of requests) expect(many.get(site)!.gram[0]).toEqual(one.get(site)!.gram[0])
    expect(one.get('3')!.gram[0]!.some((value) => value > 0)).toBe(true)
  })

  it('says what is wrong with the data or the request', async () => {
    const model = throughModel(['n', 3, 6, 6])
    const batch = { x: randomTensor([2, 3, 6, 6], 6) }
    const collect = (request: MomentRequest, batches = [batch]) =>
      collectMoments(evaluator, model, [request], stream(batches))
    await expect(collect({ ...conv, kernel: [2, 2] }, [])).rejects.toThrow('need at least one batch of data; got none.')
    await expect(collect({ ...conv, kernel: [2, 2, 2] })).rejects.toThrow(
      "Layer 'layer': its input 'value' must have 3 axes behind batch and channels; it has shape [2, 3, 6, 6].",
    )
    await expect(collect({ ...conv, kernel: [2, 2], group: 2 })).rejects.toThrow('channels that 2 groups divide')
    await expect(collect({ ...conv, kernel: [2, 2], value: 'no' })).rejects.toThrow("its input 'no' is not a tensor")
    await expect(collect({ ...conv, kernel: [2, 2], pads: [1] })).rejects.toThrow('pads must have 4 numbers; got [1].')
  })
})
