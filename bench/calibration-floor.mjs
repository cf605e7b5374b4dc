// What no calibration in Node can be faster than: a process that starts ONNX Runtime, reads the pictures and runs the
// network on them, and does nothing with what comes out.
//
//   node bench/calibration-floor.mjs MODEL CIFAR_BATCH.bin SAMPLES BATCH THREADS
import { closeSync, openSync, readSync } from 'node:fs'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { usage } from './process.mjs'

const [model, pictures, ...numbers] = process.argv.slice(2)
const [samples, batch, threads] = numbers.map(Number)
const PIXELS = 3072
const MEAN = [0.4914, 0.4822, 0.4465]
const DEVIATION = [0.2471, 0.2435, 0.2616]

const session = await InferenceSession.create(model, { intraOpNumThreads: threads, logSeverityLevel: 4 })
const file = openSync(pictures, 'r')
const bytes = new Uint8Array(batch * (PIXELS + 1))
let inference = 0
for (let start = 0; start < samples; start += batch) {
  const count = Math.min(batch, samples - start)
  readSync(file, bytes, 0, count * (PIXELS + 1), start * (PIXELS + 1))
  const values = new Float32Array(count * PIXELS)
  for (let i = 0; i < values.length; i++) {
    const channel = ((i % PIXELS) / 1024) | 0
    // A label comes before each picture.
    values[i] = (bytes[i + ((i / PIXELS) | 0) + 1] / 255 - MEAN[channel]) / DEVIATION[channel]
  }
  const feeds = { [session.inputNames[0]]: new Tensor('float32', values, [count, 3, 32, 32]) }
  const started = performance.now()
  await session.run(feeds)
  inference += performance.now() - started
}
closeSync(file)
console.log(JSON.stringify({ ...usage(), inference: inference / 1000 }))
process.exit(0)
