// What the bench runs inside a page: fetches the tensor, measures on onnxruntime-web.
import { decodeNpy } from 'whittle-nn/data'
import { createWebRuntime } from 'whittle-nn/web'
import { measureTensorWork } from './tensor-work.mjs'

globalThis.measure = async (ort, job) => {
  const { matrices } = createWebRuntime(ort, { threads: job.threads, wasmPath: '/ort/' })
  const x = await decodeNpy(new Uint8Array(await (await fetch('/data.npy')).arrayBuffer()))
  return { isolated: globalThis.crossOriginIsolated, ...(await measureTensorWork(matrices, x, job)) }
}
