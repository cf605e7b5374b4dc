/** ONNX Runtime for browsers, given by the page: this package neither imports nor bundles it. */
import type { Runtime } from '../api/index.ts'
import { fail } from '../core/index.ts'
import { createEvaluator, createMatrixEngine, type EvaluatorOptions, type OrtRuntime } from '../engine/index.ts'

/** `onnxruntime-web` in any of its builds: `import * as ort from 'onnxruntime-web/wasm'` is one. */
export interface OrtWebRuntime extends OrtRuntime {
  readonly env: { readonly wasm: { numThreads?: number | undefined; wasmPaths?: unknown } }
}

/** Options of {@link createWebRuntime}. */
export interface WebRuntimeOptions extends EvaluatorOptions {
  /** Where the runtime's `.wasm` and `.mjs` files are served, ending in `/`; default: beside its script. */
  readonly wasmPath?: string | undefined
}

/**
 * What the library's operations run on, over the page's `onnxruntime-web`.
 *
 * Several threads need a page that is cross-origin isolated (headers `Cross-Origin-Opener-Policy: same-origin` and
 * `Cross-Origin-Embedder-Policy: require-corp`); elsewhere the runtime works with one. The number of threads and the
 * path can be chosen only before the runtime's first session.
 *
 * @throws WhittleError `INVALID_ARGUMENT` when `threads` is not a whole number of at least 1.
 * @example
 * import * as ort from 'onnxruntime-web/wasm'
 * const runtime = createWebRuntime(ort, { threads: 4, wasmPath: '/ort/' })
 * const { model } = await decompose(original, { budget: { metric: 'macs', fraction: 0.5 } }, runtime)
 */
export function createWebRuntime(ort: OrtWebRuntime, options: WebRuntimeOptions = {}): Runtime {
  const { wasmPath, ...evaluatorOptions } = options
  if (!ort?.InferenceSession || !ort.env?.wasm)
    fail('INVALID_ARGUMENT', "ONNX Runtime: must be the module 'onnxruntime-web', as import * as ort gives it.")
  const evaluator = createEvaluator(ort, evaluatorOptions)
  if (options.threads !== undefined) ort.env.wasm.numThreads = options.threads
  if (wasmPath !== undefined) ort.env.wasm.wasmPaths = wasmPath
  const { threads, executionProviders } = options
  return { evaluator, matrices: createMatrixEngine(ort, { threads, executionProviders, copiesFeeds: true }) }
}
