// ‖W − Ŵ‖ / ‖W‖ of factors that somebody wrote, by the same code for everybody: products in float32 on ONNX Runtime,
// differences summed in float64. Reads our ONNX file (model.onnx) or NumPy files of the peers.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as ort from 'onnxruntime-node'
import { decodeNpy } from 'whittle-nn/data'
import { GraphBuilder } from 'whittle-nn/graph'
import { loadModel } from 'whittle-nn/node'
import { encodeModel } from 'whittle-nn/onnx'
import { toFloat32 } from 'whittle-nn/tensor'

const ROWS = 64

const { weight: weightPath, factors } = JSON.parse(process.argv[2])
const read = async (path) => {
  const { shape, data } = await decodeNpy(readFileSync(path), path)
  return { shape, data }
}

async function readFactors() {
  const ours = join(factors, 'model.onnx')
  if (!existsSync(ours)) {
    const names = ['core', 'output', 'input', 'first', 'last'].filter((name) =>
      existsSync(join(factors, `${name}.npy`)),
    )
    const arrays = await Promise.all(names.map((name) => read(join(factors, `${name}.npy`))))
    return Object.fromEntries(names.map((name, at) => [name, arrays[at]]))
  }
  const { graph } = await loadModel(ours)
  const stages = graph.nodes
    .filter((node) => node.opType === 'Conv')
    .map((node) => graph.initializers.get(node.inputs[1]))
  const tensors = stages.map((tensor) => ({ shape: tensor.shape, data: toFloat32(tensor) }))
  if (tensors.length === 2) return { first: tensors[0], last: tensors[1] }
  const [first, core, last] = tensors
  return {
    core,
    // [rank, in, 1, 1] → [in, rank]; [out, rank, 1, 1] is [out, rank] as it lies.
    input: {
      shape: [first.shape[1], first.shape[0]],
      data: permuted(first.data, [first.shape[0], first.shape[1]], [1, 0]),
    },
    output: { shape: last.shape.slice(0, 2), data: last.data },
  }
}

/** A copy with axes in another order: axis i of the result is axis order[i] of `data`. */
function permuted(data, shape, order) {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, extent) => product * extent, 1))
  const sizes = order.map((axis) => shape[axis])
  const out = new Float32Array(data.length)
  const index = sizes.map(() => 0)
  let from = 0
  for (let at = 0; at < out.length; at++) {
    out[at] = data[from]
    for (let axis = sizes.length - 1; axis >= 0; axis--) {
      from += strides[order[axis]]
      if (++index[axis] < sizes[axis]) break
      from -= strides[order[axis]] * sizes[axis]
      index[axis] = 0
    }
  }
  return out
}

const builder = new GraphBuilder()
const operands = ['a', 'b'].map((name) => builder.input(name, 'float32', [null, null]))
builder.output(builder.op('MatMul', operands), 'float32', [null, null])
const session = await ort.InferenceSession.create(encodeModel(builder.model()))

async function multiply(a, rows, inner, b, cols) {
  const feeds = { a: new ort.Tensor('float32', a, [rows, inner]), b: new ort.Tensor('float32', b, [inner, cols]) }
  return Object.values(await session.run(feeds))[0].data
}

/** Blocks of rows of Ŵ, as `[out, kernel columns, in, kernel rows]` for spatial and `[out, taps, in]` for Tucker-2. */
async function reconstruction({ core, output, input, first, last }) {
  if (core) {
    const [ro, ri] = core.shape
    const taps = core.data.length / (ro * ri)
    const inputs = input.shape[0]
    // [ro, ri, t] → [ro, t, ri] @ [ri, in] → [ro, t, in]
    const transposedInput = permuted(input.data, input.shape, [1, 0])
    const middle = await multiply(
      permuted(core.data, [ro, ri, taps], [0, 2, 1]),
      ro * taps,
      ri,
      transposedInput,
      inputs,
    )
    return {
      block: (from, rows) =>
        multiply(output.data.slice(from * ro, (from + rows) * ro), rows, ro, middle, taps * inputs),
      offset: (i, t) => t * inputs + i,
    }
  }
  const rank = first.shape[0]
  const [, inputs, height] = first.shape
  const width = last.shape[3]
  return {
    block: (from, rows) => {
      const part = last.data.subarray(from * rank * width, (from + rows) * rank * width)
      return multiply(permuted(part, [rows, rank, width], [0, 2, 1]), rows * width, rank, first.data, inputs * height)
    },
    offset: (i, t) => (t % width) * inputs * height + i * height + Math.floor(t / width),
  }
}

const weight = await read(weightPath)
const [outputs, inputs, height, width] = weight.shape
const taps = height * width
const { block, offset } = await reconstruction(await readFactors())
let squaredError = 0
let squaredNorm = 0
for (let from = 0; from < outputs; from += ROWS) {
  const rows = Math.min(ROWS, outputs - from)
  const approximated = await block(from, rows)
  for (let o = 0; o < rows; o++)
    for (let i = 0; i < inputs; i++)
      for (let t = 0; t < taps; t++) {
        const exact = weight.data[((from + o) * inputs + i) * taps + t]
        squaredError += (exact - approximated[o * inputs * taps + offset(i, t)]) ** 2
        squaredNorm += exact ** 2
      }
}
const relativeError = Math.sqrt(squaredError / squaredNorm)
process.stdout.write(`${JSON.stringify({ relativeError })}\n`, () => process.exit(0))
