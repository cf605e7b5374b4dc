// Writes a tensor as a NumPy file: node bench/make-tensor.mjs 200x200x200 PATH for a CP signal of rank 20 with decaying
// weights and 10 % noise; a shape of four modes is the weight of a convolution (synthetic-weights.mjs).
import { writeFileSync } from 'node:fs'
import { createNodeRuntime } from 'whittle-nn/node'
import { cpToTensor, Tensor } from 'whittle-nn/tensor'
import { encodeNpy } from '../interop/npy.mjs'
import { normal, syntheticWeight } from './synthetic-weights.mjs'

const RANK = 20
const NOISE = 0.1

/** Norm 1 before the noise, whose norm is {@link NOISE}. */
function lowRankTensor(shape) {
  const factors = shape.map((extent, mode) => {
    const data = Float64Array.from({ length: extent * RANK }, (_, i) => normal(10 + mode, i) / Math.sqrt(extent))
    return Tensor.of(data, [extent, RANK])
  })
  const weights = Tensor.of(
    Float64Array.from({ length: RANK }, (_, r) => (r + 1) ** -0.5),
    [RANK],
  )
  const { data } = cpToTensor({ weights, factors })
  let squares = 0
  for (const value of data) squares += value * value
  const [scale, noise] = [1 / Math.sqrt(squares), NOISE / Math.sqrt(data.length)]
  return Float32Array.from(data, (value, i) => scale * value + noise * normal(20, i))
}

async function convolutionWeight([outputs, inputs, kernel]) {
  const { matrices } = await createNodeRuntime()
  return syntheticWeight(matrices, { outputs, inputs, kernel })
}

const [text, path] = process.argv.slice(2)
const shape = text.split('x').map(Number)
const data = shape.length === 4 ? await convolutionWeight(shape) : lowRankTensor(shape)
writeFileSync(path, encodeNpy(data, shape))
process.stdout.write('{"cpu": 0}\n', () => process.exit(0))
