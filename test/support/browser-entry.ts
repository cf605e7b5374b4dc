/** What the browser test runs inside the page; its results are compared with those of Node. */
import { symmetricEigen } from '../../src/decompose/index.ts'
import {
  browserCheckpoints,
  createWebRuntime,
  decompose,
  type Model,
  modelBlob,
  type OrtWebRuntime,
  type Runtime,
  readModel,
  Tensor,
  toFloat64,
} from '../../src/web/index.ts'
import { type TrainedSteps, type TrainedWhole, trainSteps, trainWhole } from './browser-training.ts'

/** Numbers to be compared, as JSON. */
export interface Computed {
  readonly outputs: number[]
  readonly eigenvalues: number[]
  /** Of the decomposed model. */
  readonly macs: number
  readonly bytes: number
  readonly decomposedOutputs: number[]
}

/** What the page sends back. */
export interface PageReport extends Computed {
  readonly isolated: boolean
  readonly error: string
}

/** What the page sends back of training. */
export interface TrainingReport {
  readonly steps: TrainedSteps
  readonly whole: TrainedWhole
  /** Whether a checkpoint was left after it was deleted. */
  readonly left: boolean
}

/** What the page sends back of training on a graphics processor: the steps, or what was missing. */
export interface GpuReport {
  readonly steps?: TrainedSteps
  readonly missing?: string
}

/** A symmetric matrix that both sides make alike. */
export function testMatrix(n: number): { rows: number; cols: number; data: Float64Array } {
  const data = new Float64Array(n * n)
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++) {
      const value = Math.sin(1 + i * 1.3 + j * 0.7) / (1 + i - j)
      data[i * n + j] = value
      data[j * n + i] = value
    }
  return { rows: n, cols: n, data }
}

/** An input that both sides make alike. */
export function testInput(shape: readonly number[]): Tensor {
  const size = shape.reduce((product, extent) => product * extent, 1)
  return Tensor.of(
    Float32Array.from({ length: size }, (_, i) => Math.sin(i * 0.37) + Math.cos(i * 0.011)),
    shape,
  )
}

/** What the library computes on one runtime; the same for Node and the page. */
export async function computeOn(runtime: Runtime, model: Model): Promise<Computed> {
  const x = testInput([2, 3, 32, 32])
  const run = async (each: Model): Promise<number[]> => {
    const executable = await runtime.evaluator.load(each)
    const results = await executable.run({ input: x })
    await executable.release()
    return [...toFloat64(Object.values(results)[0]!)]
  }
  const { values } = await symmetricEigen(runtime.matrices, testMatrix(96))
  const small = await decompose(model, { budget: { metric: 'macs', fraction: 0.5 } }, runtime)
  return {
    outputs: await run(model),
    eigenvalues: [...values],
    macs: small.record.after.macs ?? 0,
    bytes: modelBlob(small.model).size,
    decomposedOutputs: await run(small.model),
  }
}

async function report(ort: OrtWebRuntime): Promise<PageReport> {
  const runtime = createWebRuntime(ort, { threads: 2, wasmPath: '/ort/' })
  const computed = await computeOn(runtime, await readModel(await fetch('/model.onnx')))
  let error = ''
  try {
    await readModel(await fetch('/nothing.onnx'))
  } catch (caught) {
    error = (caught as Error).message
  }
  return { ...computed, isolated: globalThis.crossOriginIsolated, error }
}

async function pictures(): Promise<Uint8Array> {
  return new Uint8Array(await (await fetch('/data.bin')).arrayBuffer())
}

async function reportTraining(ort: OrtWebRuntime): Promise<TrainingReport> {
  const runtime = createWebRuntime(ort, { threads: 2, wasmPath: '/ort/' })
  const bytes = await pictures()
  const checkpoints = browserCheckpoints('test')
  const steps = await trainSteps(runtime.evaluator, bytes)
  const whole = await trainWhole(runtime, bytes, checkpoints)
  await checkpoints.delete()
  return { steps, whole, left: (await checkpoints.read()) !== undefined }
}

async function reportGpuTraining(ort: OrtWebRuntime): Promise<GpuReport> {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<unknown> } }
  if (!gpu) return { missing: 'this browser has no WebGPU' }
  if (!(await gpu.requestAdapter())) return { missing: 'WebGPU of this browser has no adapter' }
  const { evaluator } = createWebRuntime(ort, { wasmPath: '/ort/', executionProviders: ['webgpu'] })
  return { steps: await trainSteps(evaluator, await pictures(), { steps: 2 }) }
}

Object.assign(globalThis, { report, reportTraining, reportGpuTraining })
