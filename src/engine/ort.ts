/**
 * The part of the onnxruntime JavaScript API that this package uses, as structural types: `onnxruntime-node` and
 * `onnxruntime-web` both satisfy them without an adapter, and neither is imported here.
 */

/** Element types by ONNX Runtime's names. */
export type OrtElementType =
  | 'float32'
  | 'float64'
  | 'float16'
  | 'int64'
  | 'uint64'
  | 'int32'
  | 'uint32'
  | 'int16'
  | 'uint16'
  | 'int8'
  | 'uint8'
  | 'bool'
  | 'int4'
  | 'uint4'
  | 'string'

/** A tensor of the runtime. */
export interface OrtTensor {
  readonly type: string
  readonly dims: readonly number[]
  getData(releaseData?: boolean): Promise<unknown>
  dispose(): void
}

/** Session options used here; more may be given to `createEvaluator` and are passed on. */
export interface OrtSessionOptions {
  /** Execution providers in order of preference; default: the CPU. */
  executionProviders?: readonly unknown[]
  /** How much the runtime may rewrite the graph; default `'all'`. */
  graphOptimizationLevel?: 'disabled' | 'basic' | 'extended' | 'all'
  /** Threads within one operator; default: one per core. */
  intraOpNumThreads?: number
  /** Threads for operators side by side; only used in the parallel execution mode. */
  interOpNumThreads?: number
  /** Whether allocations are planned from earlier runs with the same shapes. */
  enableMemPattern?: boolean
  /** Whether memory is kept for later runs instead of given back. */
  enableCpuMemArena?: boolean
  /** From 0 (verbose) to 4 (fatal only). */
  logSeverityLevel?: 0 | 1 | 2 | 3 | 4
}

/** What the runtime inferred about an input or output. */
export interface OrtValueMetadata {
  readonly name: string
  readonly isTensor: boolean
  /** Element type; absent for other values than tensors. */
  readonly type?: string
  /** Extents, or the names of symbolic axes; `[]` also when the rank is unknown. */
  readonly shape?: readonly (number | string)[]
}

/** A session of the runtime. */
export interface OrtSession {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  readonly outputMetadata?: readonly OrtValueMetadata[]
  run(
    feeds: Readonly<Record<string, OrtTensor>>,
    fetches: readonly string[],
    options?: { readonly logSeverityLevel?: 0 | 1 | 2 | 3 | 4 },
  ): Promise<Readonly<Record<string, OrtTensor>>>
  release(): Promise<void>
}

/** The runtime that is injected: `import * as ort from 'onnxruntime-node'` is one. */
export interface OrtRuntime {
  readonly Tensor: new (type: never, data: never, dims: readonly number[]) => OrtTensor
  readonly InferenceSession: {
    create(model: Uint8Array, options?: never): Promise<OrtSession>
  }
}
