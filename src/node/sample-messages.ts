/** What the main thread and the threads that prepare samples say to each other. */
import type { ErrorCode, Json } from '../core/index.ts'
import type { DType } from '../tensor/index.ts'
import type { SampleRun, SampleSettings } from '../train/index.ts'

/** A tensor as it travels between threads. */
export interface PostedTensor<B extends ArrayBuffer | SharedArrayBuffer = ArrayBuffer> {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly bytes: B
}

/** All raw samples in memory that threads share. */
export interface SharedSamples {
  readonly dtype: 'uint8' | 'float32'
  /** Of one sample. */
  readonly sampleShape: readonly number[]
  readonly samples: SharedArrayBuffer
  /** Int32, one per sample. */
  readonly labels: SharedArrayBuffer | undefined
}

/** What a thread is started with. */
export interface WorkerSetup {
  readonly settings: SampleSettings
  /** Absent: raw samples come with every request. */
  readonly shared: SharedSamples | undefined
}

/** Asks for the samples of a run. */
export interface WorkerRequest {
  readonly id: number
  readonly run: SampleRun
  readonly raw?: {
    readonly inputs: readonly PostedTensor[]
    readonly labels?: Int32Array | undefined
    readonly size: number
  }
}

/** The samples, or why there are none. */
export type WorkerResponse =
  | { readonly id: number; readonly inputs: readonly PostedTensor[]; readonly targets?: PostedTensor | undefined }
  | {
      readonly id: number
      readonly error: { readonly code: ErrorCode; readonly message: string; readonly details: Json }
    }
