/**
 * Training samples prepared in threads, so that the engine, which blocks the main thread while it runs, never waits for
 * pixels. Where they fit, raw samples lie in memory that the threads share, and nothing but their numbers travels.
 */
import { Worker } from 'node:worker_threads'
import { fail, messageOf } from '../core/index.ts'
import type { Batch, Dataset } from '../data/index.ts'
import { sizeOf, Tensor, toFloat32 } from '../tensor/index.ts'
import { type PreparedSamples, type SampleLoader, type SampleSettings, sampleReader, sizedFor } from '../train/index.ts'
import type { PostedTensor, SharedSamples, WorkerRequest, WorkerResponse, WorkerSetup } from './sample-messages.ts'

/** Options of {@link createWorkerLoader}. */
export interface WorkerLoaderOptions {
  /** Threads; default 1, which is enough for small pictures. */
  readonly workers?: number | undefined
  /** The most bytes of raw samples to keep in memory; default 1 GiB. Larger data are read while training. */
  readonly sharedBytes?: number | undefined
  /** Where the thread's program is; default: beside this module. */
  readonly script?: URL | undefined
  /** Cancels reading the samples into memory. */
  readonly signal?: AbortSignal | undefined
}

const DEFAULT_SHARED_BYTES = 2 ** 30

/**
 * Starts threads that prepare a dataset's samples.
 *
 * @throws WhittleError `INTERNAL` when a thread dies; what preparing samples throws.
 */
export async function createWorkerLoader(
  data: Dataset,
  settings: SampleSettings,
  options: WorkerLoaderOptions = {},
): Promise<SampleLoader> {
  const { workers = 1, sharedBytes = DEFAULT_SHARED_BYTES, signal } = options
  const script = options.script ?? new URL('./sample-worker.js', import.meta.url)
  const sized = sizedFor(data, settings)
  const shared = await shareSamples(sized.dataset, sharedBytes, signal)
  const setup: WorkerSetup = { settings: sized.settings, shared }
  const threads = Array.from({ length: workers }, () => new Thread(new Worker(script, { workerData: setup })))
  const read = shared ? undefined : sampleReader(sized.dataset)
  let next = 0
  let id = 0
  return {
    async load(run, abort) {
      const thread = threads[next++ % threads.length]!
      const own = id++
      if (!read) return thread.ask({ id: own, run })
      const { inputs, labels, size } = await read(run.indices, abort)
      return thread.ask({ id: own, run, raw: { inputs: inputs.map(posted), labels, size } })
    },
    async close() {
      await Promise.all(threads.map((thread) => thread.end()))
    },
  }
}

function posted({ dtype, shape, bytes }: Tensor): PostedTensor {
  return { dtype, shape, bytes: bytes.slice().buffer }
}

/** A worker and the answers it owes. */
class Thread {
  readonly #worker: Worker
  readonly #waiting = new Map<number, { resolve(value: PreparedSamples): void; reject(error: unknown): void }>()
  #failure: Error | undefined

  constructor(worker: Worker) {
    this.#worker = worker
    worker.on('message', (response: WorkerResponse) => this.#answer(response))
    worker.on('error', (error) => this.#fail(error))
    worker.on('exit', (code) => this.#fail(new Error(`The thread that prepares samples ended with code ${code}.`)))
    // A thread without work does not keep the process alive.
    worker.unref()
  }

  ask(request: WorkerRequest): Promise<PreparedSamples> {
    if (this.#failure) return Promise.reject(this.#failure)
    return new Promise((resolve, reject) => {
      this.#waiting.set(request.id, { resolve, reject })
      this.#worker.ref()
      this.#worker.postMessage(request, request.raw?.inputs.map(({ bytes }) => bytes) ?? [])
    })
  }

  #answer(response: WorkerResponse): void {
    const waiting = this.#waiting.get(response.id)
    this.#waiting.delete(response.id)
    if (this.#waiting.size === 0) this.#worker.unref()
    if ('error' in response) {
      const { code, message, details } = response.error
      waiting?.reject(failure(() => fail(code, message, { details })))
      return
    }
    const tensor = ({ dtype, shape, bytes }: PostedTensor): Tensor =>
      Tensor.fromBytes(dtype, shape, new Uint8Array(bytes))
    waiting?.resolve({ inputs: response.inputs.map(tensor), targets: response.targets && tensor(response.targets) })
  }

  #fail(cause: Error): void {
    this.#failure ??= cause
    for (const { reject } of this.#waiting.values())
      reject(failure(() => fail('INTERNAL', `Internal: preparing samples failed: ${messageOf(cause)}`, { cause })))
    this.#waiting.clear()
  }

  async end(): Promise<void> {
    this.#worker.removeAllListeners('exit')
    await this.#worker.terminate()
  }
}

/** The error that `work` throws. */
function failure(work: () => never): unknown {
  try {
    return work()
  } catch (error) {
    return error
  }
}

/**
 * Reads all samples into shared memory: bytes where all values are whole numbers 0 … 255, as pictures' are.
 *
 * @returns `undefined` for data of several inputs, of other element types, of open shapes, or too large.
 */
export async function shareSamples(
  data: Dataset,
  limit: number,
  signal?: AbortSignal,
): Promise<SharedSamples | undefined> {
  const [sampleShape] = data.sampleShapes
  if (!sampleShape || data.sampleShapes.length !== 1) return undefined
  const elements = sizeOf(sampleShape)
  for (const dtype of ['uint8', 'float32'] as const) {
    const total = data.size * elements * (dtype === 'uint8' ? 1 : 4)
    if (total > limit) return undefined
    const samples = new SharedArrayBuffer(total)
    const labels = data.hasLabels ? new SharedArrayBuffer(data.size * 4) : undefined
    const filled = await fill(data, dtype, samples, labels, signal)
    if (filled === 'done') return { dtype, sampleShape, samples, labels }
    if (filled === 'unfit') return undefined
  }
  return undefined
}

async function fill(
  data: Dataset,
  dtype: 'uint8' | 'float32',
  samples: SharedArrayBuffer,
  labels: SharedArrayBuffer | undefined,
  signal: AbortSignal | undefined,
): Promise<'done' | 'not bytes' | 'unfit'> {
  const values = dtype === 'uint8' ? new Uint8Array(samples) : new Float32Array(samples)
  const classes = labels && new Int32Array(labels)
  let at = 0
  let row = 0
  for await (const batch of data.batches({ batch: 256, signal })) {
    const from = numbersOf(batch)
    if (!from || at + from.length > values.length) return 'unfit'
    if (dtype === 'uint8' && !isBytes(from)) return 'not bytes'
    values.set(from, at)
    classes?.set(batch.labels ?? [], row)
    at += from.length
    row += batch.size
  }
  return at === values.length ? 'done' : 'unfit'
}

function numbersOf({ inputs: [input] }: Batch): Uint8Array | Float32Array | undefined {
  if (input?.dtype === 'uint8') return input.bytes
  return input?.dtype === 'float32' ? toFloat32(input) : undefined
}

function isBytes(values: Uint8Array | Float32Array): boolean {
  if (values instanceof Uint8Array) return true
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!
    if (!(value >= 0 && value <= 255 && value === Math.trunc(value))) return false
  }
  return true
}
