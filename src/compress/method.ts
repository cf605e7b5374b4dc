/**
 * The shape every compression method has: plan → apply → record.
 *
 * `plan` reads weights and may run the model; it decides everything and changes nothing. A plan is JSON, addresses
 * nodes by name, and can be edited by hand and applied again. `apply` computes factors and edits a clone; it decides
 * nothing. `record` counts and compares.
 */
import type { Json } from '../core/index.ts'
import type { QuantizeImprovements } from './quantize/improvements.ts'

/** A layer left alone, and why. */
export type Skip = {
  /** Name of the node. */
  readonly name: string
  /** A sentence. */
  readonly reason: string
}

/** What a method is going to do to one model. */
export type Plan<Step extends Json = Json> = {
  readonly method: string
  /** Version of the plan's own format. */
  readonly version: number
  /** Hash of the model that the plan was made for; see `modelHash`. */
  readonly model: string
  readonly seed: number
  readonly steps: readonly Step[]
  readonly skips: readonly Skip[]
  /** Suspicious things a person should know about. */
  readonly warnings: readonly string[]
}

/** Parameters, bytes and multiply–accumulates of a network or a layer. */
export type Cost = {
  /** Elements of all weights and biases. */
  readonly parameters: number
  /** Bytes of all weights and biases, or of the file for a whole model. */
  readonly bytes: number
  /** Multiply–accumulates of one forward pass, with batch 1 where it is open; `null` when a shape is unknown. */
  readonly macs: number | null
}

/** What happened to one layer. */
export type LayerRecord = {
  readonly name: string
  readonly op: string
  readonly method: string
  /** Chosen ranks, by role. */
  readonly ranks: Readonly<Record<string, number>>
  readonly parameters: { readonly before: number; readonly after: number }
  readonly macs: { readonly before: number | null; readonly after: number | null }
  /** ‖W − Ŵ‖ / ‖W‖ of the weight the new layers stand for. */
  readonly relativeError: number
  /** Error of the layer's output on the calibration data, relative, when data were given. */
  readonly outputError?: number
  readonly milliseconds?: { readonly before: number; readonly after: number }
  /** Bytes of weight and bias, where their type changes. */
  readonly bytes?: { readonly before: number; readonly after: number }
  /** How its integers were chosen: `nearest`, or a method on data; only of quantized layers. */
  readonly rounding?: string
  /** Signal-to-noise ratio of the weight in decibels; `null` when nothing was lost. */
  readonly sqnr?: number | null
}

/** A number somebody measured, and how. */
export type Measurement = {
  readonly metric: string
  readonly before: number | null
  readonly after: number | null
  readonly data: string
  readonly samples: number
  readonly command: string
}

/** What a compression step cost and brought; written beside the model as `.record.json`. */
export type CompressionRecord = {
  /** Version of this package. */
  readonly whittle: string
  readonly method: string
  readonly seed: number
  readonly plan: Plan
  readonly before: Cost
  readonly after: Cost
  readonly layers: readonly LayerRecord[]
  readonly skips: readonly Skip[]
  readonly measured: readonly Measurement[]
  /** Quantization only: what was done to the float network for it, and what that left alone, with reasons. */
  readonly improvements?: QuantizeImprovements
  readonly warnings: readonly string[]
}
