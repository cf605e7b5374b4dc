// A transformer encoder in every format of weights, for ONNX Runtime's own quantizers to make again.
import { join } from 'node:path'
import { quantizeWeights } from 'whittle-nn'
import { transformerEncoder } from 'whittle-nn/networks'
import { createNodeRuntime, saveModel } from 'whittle-nn/node'

const SIZE = { vocabulary: 1000, positions: 64, width: 80, layers: 2, heads: 4, inner: 200 }
const SHAPE = [2, 16]

/** What each case is made with, and what the peer is told. */
const CASES = [
  { name: 'q4', options: { format: 'q4', block: 32 } },
  { name: 'q4-zero-points', options: { format: 'q4', block: 16, symmetric: false } },
  { name: 'nf4', options: { format: 'bnb4', codes: 'nf4' } },
  { name: 'fp4', options: { format: 'bnb4', codes: 'fp4' } },
  { name: 'int8', options: { format: 'int8', perChannel: false } },
  { name: 'int8-per-channel', options: { format: 'int8', perChannel: true, embeddings: false } },
  { name: 'uint8', options: { format: 'uint8', perChannel: false } },
  { name: 'fp16', options: { format: 'fp16' } },
]

/** Writes the encoder and its formats into a folder; returns the job of weight_only.py. */
export async function weightOnlyCases(folder) {
  const runtime = await createNodeRuntime()
  const original = transformerEncoder(SIZE)
  const path = join(folder, 'encoder.onnx')
  await saveModel(original, path)
  const inputShapes = { input_ids: SHAPE, attention_mask: SHAPE }
  const cases = []
  for (const { name, options } of CASES) {
    const { model } = await quantizeWeights(original, { ...options, inputShapes }, runtime)
    const file = join(folder, `encoder-${name}.onnx`)
    await saveModel(model, file)
    cases.push({ name, model: file, ...options })
  }
  const ids = Array.from({ length: SHAPE[0] * SHAPE[1] }, (_, i) => (i * 7919) % SIZE.vocabulary)
  return { original: path, shape: SHAPE, ids, cases }
}
