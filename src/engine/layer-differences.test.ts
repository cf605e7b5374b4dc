import ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { createRandom } from '../core/index.ts'
import { createNode, GraphBuilder, type Model, type TensorMap } from '../graph/index.ts'
import { Tensor } from '../tensor/index.ts'
import { compareLayers, createEvaluator } from './index.ts'

const evaluator = createEvaluator(ort)
const random = createRandom(5)
const numbers = (length: number, scale = 1): Float32Array =>
  Float32Array.from({ length }, () => scale * random.normal())

const [ROWS, IN, MIDDLE, OUT] = [16, 6, 5, 3]
const X = numbers(ROWS * IN)
const W = numbers(IN * MIDDLE)
const V = numbers(MIDDLE * OUT)

/** y = relu(x W) V, with the activation a node of its own. */
function floatModel(): Model {
  const b = new GraphBuilder('float')
  b.input('x', 'float32', ['N', IN])
  b.constant(Tensor.of(W, [IN, MIDDLE]), 'w')
  b.constant(Tensor.of(V, [MIDDLE, OUT]), 'v')
  b.graph.nodes.push(
    createNode('MatMul', ['x', 'w'], ['h'], {}, 'first'),
    createNode('Relu', ['h'], ['r'], {}, 'relu'),
    createNode('MatMul', ['r', 'v'], ['y'], {}, 'second'),
  )
  b.output('y', 'float32', ['N', OUT])
  return b.model(13)
}

interface Affine {
  readonly scale: number
  readonly zeroPoint: number
}

const ACTIVATION: Record<'x' | 'r' | 'y', Affine> = {
  x: { scale: 8 / 255, zeroPoint: 128 },
  // The range begins at 0: the integers' least value is the Relu.
  r: { scale: 10 / 255, zeroPoint: 0 },
  y: { scale: 40 / 255, zeroPoint: 128 },
}
const WEIGHT: Record<'w' | 'v', Affine> = { w: { scale: 3 / 7, zeroPoint: 0 }, v: { scale: 3 / 127, zeroPoint: 0 } }

/** The same as ONNX Runtime's quantizer writes it: the Relu left out, the output renamed. */
function qdqModel(): Model {
  const b = new GraphBuilder('qdq')
  b.input('x', 'float32', ['N', IN])
  const scalar = (name: string, { scale, zeroPoint }: Affine): string[] => [
    b.constant(Tensor.of(Float32Array.of(scale), []), `${name}_scale`),
    b.constant(Tensor.of(Uint8Array.of(zeroPoint), []), `${name}_zero_point`),
  ]
  const pair = (name: string, from = name, to = `${name}_DequantizeLinear_Output`): string => {
    const parameters = scalar(name, ACTIVATION[name as 'x'])
    const middle = `${name}_QuantizeLinear_Output`
    b.graph.nodes.push(
      createNode('QuantizeLinear', [from, ...parameters], [middle], {}, `${name}_QuantizeLinear`),
      createNode('DequantizeLinear', [middle, ...parameters], [to], {}, `${name}_DequantizeLinear`),
    )
    return to
  }
  const weight = (name: 'w' | 'v', data: Float32Array, shape: number[]): string => {
    const { scale } = WEIGHT[name]
    const integers = Int8Array.from(data, (value) => Math.round(value / scale))
    b.constant(Tensor.of(integers, shape), `${name}_quantized`)
    b.constant(Tensor.of(Float32Array.of(scale), []), `${name}_scale`)
    b.constant(Tensor.of(Int8Array.of(0), []), `${name}_zero_point`)
    const inputs = [`${name}_quantized`, `${name}_scale`, `${name}_zero_point`]
    b.graph.nodes.push(createNode('DequantizeLinear', inputs, [`${name}_DequantizeLinear_Output`]))
    return `${name}_DequantizeLinear_Output`
  }
  const x = pair('x')
  const w = weight('w', W, [IN, MIDDLE])
  b.graph.nodes.push(createNode('MatMul', [x, w], ['r'], {}, 'first'))
  const r = pair('r')
  const v = weight('v', V, [MIDDLE, OUT])
  b.graph.nodes.push(createNode('MatMul', [r, v], ['y_QuantizeLinear_Input'], {}, 'second'))
  pair('y', 'y_QuantizeLinear_Input', 'y')
  b.output('y', 'float32', ['N', OUT])
  return b.model(13)
}

// The same by hand, in float64.
const fake = (values: ArrayLike<number>, { scale, zeroPoint }: Affine): Float64Array =>
  Float64Array.from(values, (value) => {
    const q = Math.min(Math.max(Math.round(value / scale) + zeroPoint, 0), 255)
    return (q - zeroPoint) * scale
  })
const rounded = (values: ArrayLike<number>, { scale }: Affine): Float64Array =>
  Float64Array.from(values, (value) => Math.round(value / scale) * scale)
function product(a: ArrayLike<number>, b: ArrayLike<number>, inner: number, columns: number): Float64Array {
  return Float64Array.from({ length: (a.length / inner) * columns }, (_, i) => {
    let sum = 0
    for (let k = 0; k < inner; k++) sum += a[Math.floor(i / columns) * inner + k]! * b[k * columns + (i % columns)]!
    return sum
  })
}
const relu = (values: Float64Array): Float64Array => values.map((value) => Math.max(value, 0))
function relativeError(a: Float64Array, b: Float64Array): number {
  const norm = (values: Float64Array): number => Math.hypot(...values)
  return norm(a.map((value, i) => value - b[i]!)) / norm(a)
}

async function* batches(): AsyncIterable<TensorMap> {
  for (const [start, rows] of [
    [0, 10],
    [10, 6],
  ] as const)
    yield { x: Tensor.of(X.slice(start * IN, (start + rows) * IN), [rows, IN]) }
}

const hidden = relu(product(X, W, IN, MIDDLE))
const output = product(hidden, V, MIDDLE, OUT)
const quantizedX = fake(X, ACTIVATION.x)
const quantizedHidden = fake(product(quantizedX, rounded(W, WEIGHT.w), IN, MIDDLE), ACTIVATION.r)

describe('compareLayers', () => {
  it('tells what each layer does alone from what accumulates, as computed by hand', async () => {
    const { layers, unmatched, batches: count } = await compareLayers(evaluator, floatModel(), qdqModel(), batches())
    expect(count).toBe(2)
    expect(unmatched).toEqual([])
    expect(layers.map(({ name, op, value }) => [name, op, value])).toEqual([
      ['x', 'input', 'x'],
      ['first', 'MatMul', 'r'],
      ['second', 'MatMul', 'y'],
    ])
    const [input, first, second] = layers
    expect(input!.alone.relativeError).toBeCloseTo(relativeError(Float64Array.from(X), quantizedX), 6)
    expect(first!.alone.relativeError).toBeCloseTo(relativeError(hidden, quantizedHidden), 6)
    expect(first!.accumulated.relativeError).toBeCloseTo(relativeError(hidden, quantizedHidden), 6)
    const single = fake(product(fake(hidden, ACTIVATION.r), rounded(V, WEIGHT.v), MIDDLE, OUT), ACTIVATION.y)
    expect(second!.alone.relativeError).toBeCloseTo(relativeError(output, single), 6)
    const whole = fake(product(quantizedHidden, rounded(V, WEIGHT.v), MIDDLE, OUT), ACTIVATION.y)
    expect(second!.accumulated.relativeError).toBeCloseTo(relativeError(output, whole), 6)
    // The weight of 4 bits is what hurts; the second layer only passes it on.
    expect(second!.accumulated.relativeError).toBeGreaterThan(3 * second!.alone.relativeError)
    expect(first!.alone.sqnr).toBeCloseTo(-20 * Math.log10(relativeError(hidden, quantizedHidden)), 4)
  })

  it('gives the same when memory allows one value at a time', async () => {
    const all = await compareLayers(evaluator, floatModel(), qdqModel(), batches())
    const some = await compareLayers(evaluator, floatModel(), qdqModel(), batches(), { runBytes: 1 })
    expect(some).toEqual(all)
  })

  it('compares what a node itself computes, before it is quantized, when asked to', async () => {
    const sums = new Map<string, number[]>()
    const options = {
      bare: true,
      aloneOnly: true,
      only: new Set(['first']),
      onBatch: (
        layer: string,
        { reference, other, product: dot }: Record<'reference' | 'other' | 'product', number>,
      ) => {
        sums.set(layer, [...(sums.get(layer) ?? []), dot / Math.sqrt(reference * other)])
      },
    }
    const { layers } = await compareLayers(evaluator, floatModel(), qdqModel(), batches(), options)
    expect(layers.map(({ name, value }) => [name, value])).toEqual([['first', 'h']])
    const exact = product(X, W, IN, MIDDLE)
    const bare = product(quantizedX, rounded(W, WEIGHT.w), IN, MIDDLE)
    expect(layers[0]!.alone.relativeError).toBeCloseTo(relativeError(exact, bare), 6)
    const cosine = (from: number, to: number): number => {
      const [a, b] = [exact.slice(from, to), bare.slice(from, to)]
      return a.reduce((sum, value, i) => sum + value * b[i]!, 0) / (Math.hypot(...a) * Math.hypot(...b))
    }
    expect(sums.get('first')![0]).toBeCloseTo(cosine(0, 10 * MIDDLE), 6)
    expect(sums.get('first')![1]).toBeCloseTo(cosine(10 * MIDDLE, 16 * MIDDLE), 6)
  })

  it('pairs by node names where values were renamed, and says what it could not pair', async () => {
    const renamed = qdqModel()
    for (const node of renamed.graph.nodes) {
      node.inputs = node.inputs.map((name) => (name === 'r' ? 'other' : name))
      node.outputs = node.outputs.map((name) => (name === 'r' ? 'other' : name))
    }
    const found = await compareLayers(evaluator, floatModel(), renamed, batches())
    expect(found.layers.map(({ name, value }) => [name, value])).toContainEqual(['first', 'r'])
    for (const node of renamed.graph.nodes) if (node.name === 'first') node.name = 'unknown'
    const lost = await compareLayers(evaluator, floatModel(), renamed, batches())
    expect(lost.unmatched).toEqual(['unknown'])
    // What follows it is still there: its part reaches back to the input.
    expect(lost.layers.map(({ name }) => name)).toEqual(['x', 'second'])
  })

  it('takes a Clip before a quantization, which stands for fewer bits, as part of it', async () => {
    const model = qdqModel()
    const { graph } = model
    const quantize = graph.nodes.find(({ name }) => name === 'r_QuantizeLinear')!
    quantize.inputs = ['r_Clip_Output', ...quantize.inputs.slice(1)]
    graph.initializers.set('least', Tensor.of(Float32Array.of(0), []))
    graph.initializers.set('most', Tensor.of(Float32Array.of(15 * ACTIVATION.r.scale), []))
    graph.nodes.splice(
      graph.nodes.indexOf(quantize),
      0,
      createNode('Clip', ['r', 'least', 'most'], ['r_Clip_Output'], {}, 'r_Clip'),
    )
    const { layers, unmatched } = await compareLayers(evaluator, floatModel(), model, batches())
    expect(unmatched).toEqual([])
    expect(layers.map(({ name }) => name)).toEqual(['x', 'first', 'second'])
    const clipped = quantizedHidden.map((value) => Math.min(value, 15 * ACTIVATION.r.scale))
    expect(layers[1]!.alone.relativeError).toBeCloseTo(relativeError(hidden, clipped), 6)
  })

  it('needs data', async () => {
    const none = (async function* (): AsyncIterable<TensorMap> {})()
    await expect(compareLayers(evaluator, floatModel(), qdqModel(), none)).rejects.toThrow(
      'Analysis: needs at least one batch of data; got none.',
    )
  })
})
