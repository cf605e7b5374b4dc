// What bounds the operations of tensor algebra in Node: memory that is written once, and the runtime's own products.
import * as ort from 'onnxruntime-node'
import { GraphBuilder } from 'whittle-nn/graph'
import { encodeModel } from 'whittle-nn/onnx'
import { RANK, ROWS } from './tensor-operations.mjs'

const unwritten = (length) => {
  const { buffer, byteOffset } = Buffer.allocUnsafeSlow(4 * length)
  return new Float32Array(buffer, byteOffset, length)
}

/** A product alone: made once, run into memory that is there already. */
async function productAlone(threads, [a, b], shape) {
  const builder = new GraphBuilder('product')
  const axes = ({ shape }) => shape.map(() => null)
  const inputs = [builder.input('a', 'float32', axes(a)), builder.input('b', 'float32', axes(b))]
  builder.output(
    builder.op('MatMul', inputs, {}, 'product'),
    'float32',
    shape.map(() => null),
  )
  const options = {
    intraOpNumThreads: threads,
    enableMemPattern: false,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  }
  const session = await ort.InferenceSession.create(encodeModel(builder.model()), options)
  const feed = ({ data, shape }) => new ort.Tensor('float32', data, shape)
  const feeds = { a: feed(a), b: feed(b) }
  const product = new ort.Tensor('float32', new Float32Array(shape.reduce((x, y) => x * y)).fill(1), shape)
  return () => session.run(feeds, { product })
}

/** @returns seconds by name, medians of calls in a row. */
export async function timeFloors({ x, matrices }, { threads, calls }) {
  const [p, q, r] = x.shape
  const { data } = x
  const columns = new Float32Array(matrices[2].size)
  for (let i = 0; i < ROWS; i++) for (let j = 0; j < r; j++) columns[j * ROWS + i] = matrices[2].data[i * r + j]
  const flat = { data, shape: [p, q * r] }
  const tall = { data, shape: [p * q, r] }
  const work = {
    'floor of unfold: the tensor copied twice': () => [0, 1].map(() => unwritten(data.length).set(data)),
    'floor of Khatri–Rao: its result filled': () => unwritten(q * r * RANK).fill(1),
    'floor of product 0: the runtime alone': await productAlone(threads, [matrices[0], flat], [ROWS, q * r]),
    'floor of product 1: the runtime alone': await productAlone(threads, [matrices[1], x], [p, ROWS, r]),
    'floor of product 2: the runtime alone': await productAlone(
      threads,
      [tall, { data: columns, shape: [r, ROWS] }],
      [p * q, ROWS],
    ),
  }
  const floors = {}
  for (const [name, call] of Object.entries(work)) {
    const times = []
    for (let round = 0; round < calls + 5; round++) {
      const started = performance.now()
      await call()
      if (round >= 5) times.push((performance.now() - started) / 1000)
    }
    floors[name] = times.sort((a, b) => a - b)[times.length >> 1]
  }
  return floors
}
