/** The JSON of a quantization plan. */
import type { Json } from '../../core/index.ts'
import type { Plan } from '../method.ts'
import type { Quantization, Range } from './scheme.ts'

/** How one constant becomes integers. */
export type ConstantStep = {
  /** Name of the initializer. */
  readonly tensor: string
  readonly quantization: Quantization
  /** Where the scale comes from: `minmax`, `arq` … */
  readonly algorithm: string
}

/** One node that works on integers. */
export type QuantizeStep = {
  /** Name of the node. */
  readonly node: string
  readonly op: string
  readonly weight?: ConstantStep
  /** Name of the bias, stored as int32 with the scales of input and weight multiplied. */
  readonly bias?: string
  /** Other constant operands, in the type of the activations. */
  readonly constants?: readonly ConstantStep[]
  /** The node goes away: the limits of the integers do its work. */
  readonly removed?: true
}

/** How one activation becomes integers. */
export type ActivationStep = {
  /** Name of the value. */
  readonly tensor: string
  readonly quantization: Quantization
  readonly range: Range
  /** How the range was found, or `fixed`. */
  readonly algorithm: string
  /** Value whose scale and zero point it has, for nodes in between only move numbers. */
  readonly sharedWith?: string
}

/** How integers of weights were chosen on data: a method's name and options. */
export type RoundingPlan = { readonly method: string; readonly [option: string]: Json }

/** A plan of quantization. */
export type QuantizePlan = Plan<QuantizeStep> & {
  /** The target profile that it was made for. */
  readonly target: string
  readonly activations: readonly ActivationStep[]
  /** How integers of weights were chosen on data; absent: all are the nearest. Applying the plan needs the data again. */
  readonly rounding?: RoundingPlan
}

/** Version of the plan format. */
export const QUANTIZE_PLAN_VERSION = 1
