import { describe, expect, it } from 'vitest'
import { createGraph, createModel, tensorType } from '../graph/index.ts'
import { fromNumbers, Tensor, toFloat32 } from '../tensor/index.ts'
import type { Batch } from './dataset.ts'
import { type ImageDecoder, imageDataset } from './image-dataset.ts'
import { PREPROCESS_KEY, type Preprocess, preprocessBatch, preprocessDataset, preset } from './preprocess.ts'
import { parsePreprocess } from './preprocess-json.ts'
import { resolvePreprocess } from './resolve-preprocess.ts'
import { tensorDataset } from './rows-dataset.ts'

const batchOf = (values: readonly number[], shape: readonly number[]): Batch => ({
  inputs: [fromNumbers(Float32Array.from(values), shape, 'float32')],
  size: shape[0]!,
})
const applied = (values: readonly number[], shape: readonly number[], preprocess: Preprocess): Tensor =>
  preprocessBatch(batchOf(values, shape), preprocess).inputs[0]!
const numbersOf = (tensor: Tensor): number[] => [...toFloat32(tensor)]

function expectClose(actual: Tensor, expected: readonly number[], relative: number): void {
  const difference = Math.hypot(...numbersOf(actual).map((value, i) => value - expected[i]!))
  expect(difference / Math.hypot(...expected)).toBeLessThan(relative)
}

describe('presets', () => {
  it('normalise each channel', () => {
    expectClose(
      applied([255, 0, 51], [1, 3, 1, 1], preset('imagenet')),
      [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225],
      1e-6,
    )
    expectClose(
      applied([255, 0, 51], [1, 3, 1, 1], preset('cifar10')),
      [(1 - 0.4914) / 0.2471, -0.4822 / 0.2435, (0.2 - 0.4465) / 0.2616],
      1e-6,
    )
    expectClose(applied([255, 51], [2, 1, 1, 1], preset('mnist')), [1, 0.2], 1e-6)
  })

  it('leave a batch alone when there is nothing to do', () => {
    const batch = batchOf([1, 2], [2, 1])
    expect(preprocessBatch(batch, preset('none'))).toBe(batch)
  })

  it('do not resize sources whose samples have a size of their own', () => {
    const pixels = fromNumbers(new Float32Array(3 * 32 * 32), [1, 3, 32, 32], 'float32')
    const dataset = preprocessDataset(tensorDataset([pixels]), preset('imagenet', { width: 64, height: 64 }))
    expect(dataset.sampleShapes).toEqual([[3, 32, 32]])
  })

  it('fit pictures from files to the model: shortest edge, center crop, the right size kept', async () => {
    const decoder: ImageDecoder = {
      decode: async ([width = 0, height = 0]) => ({
        width,
        height,
        data: new Uint8Array(width * height * 3).fill(255),
      }),
    }
    const files = [
      { name: 'a', read: async () => Uint8Array.of(40, 20) },
      { name: 'b', read: async () => Uint8Array.of(16, 16) },
    ]
    const preprocess = preset('imagenet', { width: 16, height: 16 })
    expect(preprocess.geometry).toMatchObject({ resize: { shortestEdge: 18 }, crop: { width: 16, height: 16 } })
    const dataset = preprocessDataset(imageDataset(files, { decoder }), preprocess)
    expect(dataset.sampleShapes).toEqual([[3, 16, 16]])
    for await (const batch of dataset.batches()) {
      expect(batch.inputs[0]!.shape).toEqual([2, 3, 16, 16])
      expect(toFloat32(batch.inputs[0]!)[0]).toBeCloseTo((1 - 0.485) / 0.229, 5)
    }
  })
})

describe('preprocessBatch', () => {
  it('reorders channels before mean and std', () => {
    const bgr = parsePreprocess({ channels: 'bgr', scale: 1, mean: [104, 117, 123] })
    expect(numbersOf(applied([1, 2, 3], [1, 3, 1, 1], bgr))).toEqual([3 - 104, 2 - 117, 1 - 123])
  })

  it('makes three channels of one and one of three', () => {
    expect(numbersOf(applied([7, 9], [2, 1, 1, 1], parsePreprocess({ channels: 'rgb' })))).toEqual([7, 7, 7, 9, 9, 9])
    const gray = applied([255, 0, 0, 0, 255, 0], [2, 3, 1, 1], parsePreprocess({ channels: 'gray' }))
    expect(gray.shape).toEqual([2, 1, 1, 1])
    expectClose(gray, [76.245, 149.685], 1e-6)
  })

  it('brings channels to the front when they are last', () => {
    const hwc = Array.from({ length: 75 }, (_, i) => i)
    const result = applied(hwc, [1, 5, 5, 3], parsePreprocess({ scale: 2 }))
    expect(result.shape).toEqual([1, 3, 5, 5])
    expect(numbersOf(result)).toEqual(Array.from({ length: 75 }, (_, i) => 2 * ((i % 25) * 3 + Math.floor(i / 25))))
  })

  it('pads and resizes every source when the JSON asks for it', () => {
    const padded = applied([8], [1, 1, 1, 1], parsePreprocess({ pad: 1, scale: 0.5 }))
    expect([padded.shape, numbersOf(padded)]).toEqual([
      [1, 1, 3, 3],
      [0, 0, 0, 0, 4, 0, 0, 0, 0],
    ])
    const dataset = tensorDataset([fromNumbers(new Float32Array(4), [1, 1, 2, 2], 'float32')])
    expect(preprocessDataset(dataset, parsePreprocess({ resize: { width: 5, height: 4 } })).sampleShapes).toEqual([
      [1, 4, 5],
    ])
  })

  it('reads integers and leaves further inputs alone', () => {
    const ids = Tensor.of(Int32Array.of(5), [1, 1])
    const bytes = Tensor.of(Uint8Array.of(255), [1, 1])
    const { inputs } = preprocessBatch({ inputs: [bytes, ids], size: 1 }, parsePreprocess({ range: [0, 1] }))
    expect([numbersOf(inputs[0]!), inputs[1]]).toEqual([[1], ids])
  })

  it('refuses mean and std that do not fit the channels', () => {
    expect(() => applied([1], [1, 1, 1, 1], preset('imagenet'))).toThrow(
      'Preprocessing: mean has 3 values, the samples have 1 channels. Give one value per channel, or choose another ' +
        'preprocessing.',
    )
    expect(() => applied([1, 2], [1, 2, 1, 1], parsePreprocess({ channels: 'bgr' }))).toThrow(
      "Preprocessing: channels 'bgr' needs 1 or 3 channels; the samples have 2.",
    )
  })
})

describe('parsePreprocess: our own fields', () => {
  it('maps 0 … 255 to a range, and applies mean and std to the mapped values', () => {
    expectClose(applied([0, 255], [2, 1, 1, 1], parsePreprocess({ range: [-1, 1] })), [-1, 1], 1e-6)
    const both = parsePreprocess({ range: [0, 1], mean: 0.5, std: 0.25 })
    expectClose(applied([0, 255], [2, 1, 1, 1], both), [-2, 2], 1e-6)
  })

  it('changes a preset field by field', () => {
    const changed = parsePreprocess({ preset: 'imagenet', std: 0.225 })
    expect([changed.mean, changed.std, changed.scale]).toEqual([[0.485, 0.456, 0.406], [0.225], 1 / 255])
  })

  it.each(['imagenet', 'cifar10', 'mnist', 'none'] as const)(
    'reads a preprocessing that was written as JSON: %s',
    (name) => {
      const original = preset(name, { width: 48, height: 32 })
      expect(parsePreprocess(JSON.parse(JSON.stringify(original)))).toEqual(original)
    },
  )

  it.each([
    ['imagnet', "Preprocessing field 'preset' must be one of 'imagenet', 'cifar10', 'mnist', 'none'; got \"imagnet\"."],
    [{ means: [1] }, "Preprocessing field 'means' is not known."],
    [{ mean: [0.5] }, "Preprocessing fields 'mean' and 'std' need 'scale' or 'range' beside them"],
    [{ scale: 1, std: [1, 0, 1] }, "the standard deviations ('std', 'image_std') must not be 0"],
    [{ range: [1, 0] }, "'range' must be [low, high] and excludes 'scale'; got [1,0]"],
    [{ crop: 1e9 }, "'crop' must be a whole number of pixels from 1 to 16384; got 1000000000"],
    [{ scale: '1/255' }, '\'scale\' must be a number; got "1/255"'],
    [[1, 2], 'A preprocessing must be a JSON object; got [1,2].'],
  ])('refuses %j', (json, message) => {
    expect(() => parsePreprocess(json)).toThrow(message)
  })
})

describe('parsePreprocess: preprocessor_config.json', () => {
  const normal = { do_normalize: true, image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] }

  it('reads the ViT of before sizes were objects', () => {
    const old = parsePreprocess({
      ...normal,
      do_resize: true,
      size: 224,
      feature_extractor_type: 'ViTFeatureExtractor',
    })
    expect(old).toMatchObject({ geometry: { resize: { width: 224, height: 224 } }, geometryFor: 'all', scale: 1 / 255 })
  })

  it('reads CLIP: shortest edge, bicubic, center crop', () => {
    const clip = parsePreprocess({
      ...normal,
      do_resize: true,
      size: { shortest_edge: 224 },
      resample: 3,
      do_center_crop: true,
      crop_size: { height: 224, width: 224 },
      do_convert_rgb: true,
      do_rescale: true,
      rescale_factor: 0.00392156862745098,
    })
    expect(clip.geometry).toEqual({
      resize: { shortestEdge: 224 },
      filter: 'bicubic',
      crop: { width: 224, height: 224 },
    })
    expect([clip.channels, clip.mean]).toEqual(['rgb', [0.5, 0.5, 0.5]])
  })

  it('enlarges before the crop where the class does: ConvNext, LeViT, crop_pct', () => {
    const geometryOf = (json: object): unknown => parsePreprocess({ ...normal, do_resize: true, ...json }).geometry
    const type = 'ConvNextImageProcessor'
    expect(geometryOf({ size: { shortest_edge: 224 }, crop_pct: 0.875, image_processor_type: type })).toEqual({
      resize: { shortestEdge: 256 },
      crop: { width: 224, height: 224 },
    })
    expect(geometryOf({ size: { shortest_edge: 384 }, crop_pct: 0.875, image_processor_type: type })).toEqual({
      resize: { width: 384, height: 384 },
    })
    const levit = { size: { shortest_edge: 224 }, do_center_crop: true, crop_size: 224 }
    expect(geometryOf({ ...levit, image_processor_type: 'LevitImageProcessor' })).toMatchObject({
      resize: { shortestEdge: 256 },
    })
    expect(geometryOf({ ...levit, crop_pct: 0.9 })).toMatchObject({ resize: { shortestEdge: 248 } })
  })

  it('turns off what is turned off', () => {
    const off = parsePreprocess({
      do_resize: false,
      size: 224,
      do_rescale: false,
      do_normalize: false,
      image_mean: [9],
    })
    expect(off).toEqual({ name: 'custom', geometryFor: 'all', scale: 1, mean: [], std: [] })
  })

  it('flips channels after normalising, and rescales with an offset', () => {
    const flipped = parsePreprocess({ do_rescale: true, image_mean: [0.1, 0.2, 0.3], do_flip_channel_order: true })
    expectClose(applied([255, 0, 51], [1, 3, 1, 1], flipped), [0.2 - 0.3, -0.2, 1 - 0.1], 1e-5)
    const offset = parsePreprocess({ do_normalize: false, rescale_factor: 1 / 127.5, rescale_offset: true })
    expectClose(applied([0, 255], [2, 1, 1, 1], offset), [-1, 1], 1e-6)
  })

  it('divides by the deviation twice for EfficientNet with its top', () => {
    expect(parsePreprocess({ ...normal, include_top: true }).std).toEqual([0.25, 0.25, 0.25])
  })

  it('refuses steps it does not do', () => {
    expect(() => parsePreprocess({ ...normal, do_pad: true })).toThrow(
      "Preprocessing step 'do_pad' is not supported. Prepare the pictures without it.",
    )
    expect(() => parsePreprocess({ ...normal, do_resize: true, size: { shortest_edge: 8, longest_edge: 9 } })).toThrow(
      "'size.longest_edge' is not supported",
    )
  })
})

describe('resolvePreprocess', () => {
  const graph = createGraph('g')
  graph.inputs.push({ name: 'x', type: tensorType('float32', ['n', 3, 48, 64]) })
  const model = createModel(graph)

  it('takes the option, else what the model carries, else nothing', () => {
    expect(resolvePreprocess(model)).toMatchObject({ from: 'default', preprocess: { name: 'none' } })
    const carrying = { ...model, metadata: new Map([[PREPROCESS_KEY, '{"preset":"cifar10"}']]) }
    expect(resolvePreprocess(carrying)).toMatchObject({ from: 'model', preprocess: { scale: 1 / 255 } })
    expect(resolvePreprocess(carrying, 'none')).toMatchObject({ from: 'option', preprocess: { scale: 1 } })
  })

  it("fits pictures to the model's size", () => {
    const crop = { width: 64, height: 48 }
    expect(resolvePreprocess(model, 'imagenet').preprocess.geometry).toMatchObject({ crop })
    expect(resolvePreprocess(model, parsePreprocess({ scale: 2 })).preprocess.geometry).toMatchObject({ crop })
  })

  it('says so when the metadata are no JSON', () => {
    const broken = { ...model, metadata: new Map([[PREPROCESS_KEY, '{']]) }
    expect(() => resolvePreprocess(broken)).toThrow("The model's metadata 'whittle.preprocess' must be JSON")
  })
})
