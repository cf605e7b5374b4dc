/**
 * What a gradient rule is: given the gradients of a node's outputs, it emits those of its inputs.
 *
 * Rules know their operator only. Who needs a gradient, adding up gradients of values used several times, and summing
 * over broadcast axes are the business of the reverse walk.
 */
import { fail } from '../../core/index.ts'
import type { Node } from '../../graph/index.ts'
import type { Tensor } from '../../tensor/index.ts'
import type { Emitter } from '../emitter.ts'

/** What a rule is given. */
export interface RuleContext {
  readonly emit: Emitter
  /** The forward node; attributes are read from it with their defaults of opset 18 and later. */
  readonly node: Node
  /** Names of its inputs; `''` where one is omitted. */
  readonly inputs: readonly string[]
  /** Names of its outputs; `''` where one is omitted. */
  readonly outputs: readonly string[]
  /** Gradients of the outputs, each of its output's shape; `undefined` where the loss does not depend on one. */
  readonly gradients: readonly (string | undefined)[]
  /** Whether the gradient of an input is wanted; what a rule gives for others is dropped. */
  needs(input: number): boolean
  /** The tensor behind a value, where it is constant. */
  constant(value: string): Tensor | undefined
}

/**
 * Emits the gradients of a node's inputs.
 *
 * @returns one entry per input, `undefined` for none. An entry has its input's shape, or a shape that its input's
 *   broadcasts to: the reverse walk sums over the broadcast axes.
 */
export type GradientRule = (context: RuleContext) => readonly (string | undefined)[]

/** Rules by operator of the standard domain. */
export type GradientRules = Readonly<Record<string, GradientRule>>

/** The rules of several families as one table. @throws WhittleError `INVALID_ARGUMENT` for an operator given twice. */
export function mergeRules(...families: readonly GradientRules[]): GradientRules {
  const merged: Record<string, GradientRule> = {}
  for (const family of families)
    for (const [operator, rule] of Object.entries(family)) {
      if (merged[operator]) fail('INVALID_ARGUMENT', `Gradient rules: '${operator}' has two.`)
      merged[operator] = rule
    }
  return merged
}
