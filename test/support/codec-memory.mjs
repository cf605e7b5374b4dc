// One step with a large model in a process of its own: node codec-memory.mjs BUNDLE make|load|save PATH [OUT]
// Prints the bytes of the file and the most memory the process ever had.
import { closeSync, fstatSync, openSync, readSync, writevSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

const [bundle, mode, path, out] = process.argv.slice(2)
const { decodeModel, encodeModelChunks, GraphBuilder, Tensor } = await import(pathToFileURL(bundle).href)

/** 100 layers with 5 MB of weights each. */
function makeModel() {
  const b = new GraphBuilder()
  let x = b.input('x', 'float32', [1, 1024])
  for (let i = 0; i < 100; i++) {
    const weights = new Float32Array(1280 * 1024)
    for (let j = 0; j < weights.length; j += 97) weights[j] = i + j
    x = b.op('Gemm', [x, b.constant(Tensor.of(weights, [1280, 1024]))])
  }
  b.output(x, 'float32')
  return b.model()
}

function readWhole(from) {
  const file = openSync(from, 'r')
  const bytes = new Uint8Array(fstatSync(file).size)
  for (let at = 0; at < bytes.length; ) at += readSync(file, bytes, at, Math.min(2 ** 26, bytes.length - at), at)
  closeSync(file)
  return bytes
}

function writeWhole(model, to) {
  const file = openSync(to, 'w')
  for (const chunk of encodeModelChunks(model).chunks) writevSync(file, [chunk])
  closeSync(file)
}

if (mode === 'make') writeWhole(makeModel(), path)
else {
  const bytes = readWhole(path)
  const model = decodeModel(bytes, { name: path })
  if (mode === 'save') writeWhole(model, out)
  console.log(JSON.stringify({ fileBytes: bytes.length, peakBytes: process.resourceUsage().maxRSS * 1024 }))
}
