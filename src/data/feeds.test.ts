import { describe, expect, it } from 'vitest'
import { createGraph, createModel, tensorType } from '../graph/index.ts'
import { float16ToNumber, fromNumbers, Tensor, toFloat32, toFloat64 } from '../tensor/index.ts'
import { feedsOf, fitToInput, type InputSpec, modelInputs, pictureExtentOf } from './feeds.ts'

const counting = (shape: readonly number[]): Tensor => {
  const size = shape.reduce((a, b) => a * b, 1)
  return fromNumbers(
    Float32Array.from({ length: size }, (_, i) => i),
    shape,
    'float32',
  )
}
const input = (shape: InputSpec['shape'], dtype: InputSpec['dtype'] = 'float32'): InputSpec => ({
  name: 'x',
  dtype,
  shape,
})

describe('fitToInput', () => {
  it('passes data that fit as they are', () => {
    const data = counting([2, 3, 4, 4])
    expect(fitToInput(data, input(['n', 3, 4, 4]))).toBe(data)
    expect(fitToInput(data, input(['n', 3, 'h', null]))).toBe(data)
    expect(fitToInput(data, input(undefined))).toBe(data)
    expect(fitToInput(data, input([0, 3, -1, 0]))).toBe(data)
  })

  it('puts channels last where the model has them last, or where it is told so', () => {
    const turned = fitToInput(counting([2, 3, 2, 2]), input(['n', 2, 2, 3]))
    expect(turned.shape).toEqual([2, 2, 2, 3])
    expect([...toFloat32(turned)].slice(0, 6)).toEqual([0, 4, 8, 1, 5, 9])
    expect(fitToInput(counting([1, 3, 3, 3]), input([1, 3, 3, 3])).shape).toEqual([1, 3, 3, 3])
    expect([...toFloat32(fitToInput(counting([1, 3, 3, 3]), input([1, 3, 3, 3]), 'nhwc'))].slice(0, 3)).toEqual([
      0, 9, 18,
    ])
    expect([...toFloat32(fitToInput(counting([1, 2, 1, 2]), input(['n', 4]), 'nhwc'))]).toEqual([0, 2, 1, 3])
  })

  it('gives the same elements under the shape the model wants', () => {
    expect(fitToInput(counting([5, 1, 28, 28]), input([1, 784, 1])).shape).toEqual([5, 784, 1])
    expect(fitToInput(counting([5, 28, 28]), input(['n', 1, 28, 28])).shape).toEqual([5, 1, 28, 28])
    expect(fitToInput(counting([5, 1, 4, 4]), input(['n', null])).shape).toEqual([5, 16])
  })

  it('converts to the element type of the input', () => {
    const values = fromNumbers(Float32Array.of(-3.6, 0.5, 300, 1e9), [4, 1], 'float32')
    const as = (dtype: InputSpec['dtype']): number[] => [...toFloat64(fitToInput(values, input(['n', 1], dtype)))]
    expect(as('uint8')).toEqual([0, 1, 255, 255])
    expect(as('int8')).toEqual([-4, 1, 127, 127])
    expect(as('int32')).toEqual([-4, 1, 300, 1e9])
    expect(as('int64')).toEqual([-4, 1, 300, 1e9])
    expect(as('bool')).toEqual([0, 1, 1, 1])
    const half = fitToInput(values, input(['n', 1], 'float16'))
    expect([...(half.data as Uint16Array)].map(float16ToNumber)).toEqual([-3.599609375, 0.5, 300, 65504])
    const whole = fitToInput(Tensor.of(Uint8Array.of(7), [1, 1]), input(['n', 1]))
    expect([whole.dtype, whole.data[0]]).toEqual(['float32', 7])
  })

  it('refuses samples of another size and NaN where whole numbers are wanted', () => {
    expect(() => fitToInput(counting([1, 3, 8, 8]), input(['n', 3, 16, 16]))).toThrow(
      "Model input 'x' wants [n, 3, 16, 16]; the samples are [3, 8, 8] each. Choose data or a preprocessing " +
        '(--preprocess, with resize, crop, pad or channels) that gives this shape.',
    )
    const bad = fromNumbers(Float32Array.of(Number.NaN), [1, 1], 'float32')
    expect(() => fitToInput(bad, input(['n', 1], 'int32'))).toThrow('the data hold NaN or infinity')
    expect(() => fitToInput(bad, input(['n', 1], 'string'))).toThrow('cannot be made a model input of type string')
  })
})

describe('feedsOf', () => {
  const batch = { inputs: [counting([5, 2])], size: 5 }

  it('gives the whole batch to an open batch axis', () => {
    const feeds = feedsOf(batch, [input(['n', 2])])
    expect(feeds.map(({ start, size }) => [start, size])).toEqual([[0, 5]])
    expect(feeds[0]!.feeds.x).toBe(batch.inputs[0])
  })

  it('splits for a fixed batch and fills the last run with its last sample', () => {
    const feeds = feedsOf(batch, [input([2, 2])])
    expect(feeds.map(({ start, size }) => [start, size])).toEqual([
      [0, 2],
      [2, 2],
      [4, 1],
    ])
    expect(feeds.map(({ feeds: { x } }) => [...x!.data])).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9, 8, 9],
    ])
  })

  it('matches inputs by name when the data have names', () => {
    const two = { inputs: [counting([1, 2]), Tensor.of(Int32Array.of(9), [1, 1])], size: 1 }
    const inputs: InputSpec[] = [
      { name: 'ids', dtype: 'int64', shape: ['n', 1] },
      { name: 'x', dtype: 'float32', shape: ['n', 2] },
    ]
    const [run] = feedsOf(two, inputs, { inputNames: ['x', 'ids'] })
    expect(Object.entries(run!.feeds).map(([name, { dtype }]) => [name, dtype])).toEqual([
      ['ids', 'int64'],
      ['x', 'float32'],
    ])
    expect(() => feedsOf(two, inputs, { inputNames: ['x', 'y'] })).toThrow(
      "Model input 'ids' has no data; the data are for 'x', 'y', the model's inputs are 'ids', 'x'.",
    )
    expect(() => feedsOf(batch, inputs)).toThrow("The model has 2 inputs ('ids', 'x'); the data have 1.")
  })
})

describe('modelInputs', () => {
  it('lists inputs without a default, and finds the size of pictures', () => {
    const graph = createGraph('g')
    graph.inputs.push({ name: 'x', type: tensorType('float16', [1, 8, 6, 3]) })
    graph.inputs.push({ name: 'w', type: tensorType('float32', [1]) })
    graph.initializers.set('w', counting([1]))
    const inputs = modelInputs(createModel(graph))
    expect(inputs).toEqual([{ name: 'x', dtype: 'float16', shape: [1, 8, 6, 3] }])
    expect(pictureExtentOf(inputs)).toEqual({ width: 6, height: 8 })
    expect(pictureExtentOf([input(['n', 3, 'h', 'w'])])).toBeUndefined()
    expect(pictureExtentOf([input(['n', 10])])).toBeUndefined()
  })
})
