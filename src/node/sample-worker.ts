/** A thread that prepares training samples while the engine runs in the main one. Started by `sample-workers.ts`. */
import { parentPort, workerData } from 'node:worker_threads'
import { WhittleError } from '../core/index.ts'
import type { Batch } from '../data/index.ts'
import { byteLengthOf, type DType, sizeOf, Tensor } from '../tensor/index.ts'
import { prepareSamples } from '../train/index.ts'
import type { PostedTensor, WorkerRequest, WorkerResponse, WorkerSetup } from './sample-messages.ts'

const { settings, shared } = workerData as WorkerSetup

function rawOf({ run, raw }: WorkerRequest): Batch {
  if (raw)
    return {
      inputs: raw.inputs.map(({ dtype, shape, bytes }) => Tensor.fromBytes(dtype, shape, new Uint8Array(bytes))),
      labels: raw.labels,
      size: raw.size,
    }
  const { dtype, sampleShape, samples, labels } = shared!
  const sampleBytes = byteLengthOf(dtype, sizeOf(sampleShape))
  const from = new Uint8Array(samples)
  const bytes = new Uint8Array(sampleBytes * run.indices.length)
  run.indices.forEach((index, row) => {
    bytes.set(from.subarray(index * sampleBytes, (index + 1) * sampleBytes), row * sampleBytes)
  })
  const classes = labels && new Int32Array(labels)
  return {
    inputs: [Tensor.fromBytes(dtype, [run.indices.length, ...sampleShape], bytes)],
    labels: classes && run.indices.map((index) => classes[index]!),
    size: run.indices.length,
  }
}

function post(tensor: Tensor): PostedTensor<ArrayBuffer> {
  const { dtype, shape, bytes } = tensor
  const whole = bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength
  const owned = whole && bytes.buffer instanceof ArrayBuffer ? bytes.buffer : bytes.slice().buffer
  return { dtype: dtype as DType, shape: [...shape], bytes: owned as ArrayBuffer }
}

parentPort!.on('message', (request: WorkerRequest) => {
  let response: WorkerResponse
  try {
    const { inputs, targets } = prepareSamples(rawOf(request), request.run, settings)
    response = { id: request.id, inputs: inputs.map(post), targets: targets && post(targets) }
  } catch (error) {
    const known = error instanceof WhittleError
    response = {
      id: request.id,
      error: {
        code: known ? error.code : 'INTERNAL',
        message: error instanceof Error ? error.message : String(error),
        details: known ? error.details : null,
      },
    }
  }
  const buffers = 'error' in response ? [] : [...response.inputs, response.targets].flatMap((part) => part?.bytes ?? [])
  // Two results may share one buffer; it is transferred once.
  parentPort!.postMessage(response, [...new Set(buffers)])
})
