/**
 * Gradients that are left as one node each, so that a lowering sees what they are instead of how they are computed.
 *
 * Such a node is `whittle.gradient::Op`; it reads what a gradient needs of the forward node, and the gradient of its output. It exists only between differentiation and lowering.
 */
import {
  type Emitter,
  GRADIENT_RULES,
  type GradientRule,
  type GradientRules,
  type RuleContext,
} from '../../autodiff/index.ts'
import { intAttribute, type Node } from '../../graph/index.ts'

/** Domain of gradients that are left as one node. */
export const DEFERRED = 'whittle.gradient'

type Reads = (inputs: readonly string[], outputs: readonly string[]) => readonly (string | undefined)[]

/** Operators whose gradients are left as one node, and what of the forward node they read; shapes are known. */
const READS: Readonly<Record<string, Reads>> = {
  BatchNormalization: ([x, scale, , mean, variance], [, ofBatch, varianceOfBatch]) =>
    ofBatch ? [x, scale, ofBatch, varianceOfBatch] : [x, scale, mean, variance],
  Conv: ([x, weight]) => [x, weight],
  GlobalAveragePool: () => [],
  MaxPool: ([x], [y]) => [x, y],
  Relu: (_, [y]) => [y],
}

/** One gradient that was left as a node. */
export interface DeferredGradient {
  /** The forward node. */
  readonly node: Node
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  /** Gradients of its outputs. */
  readonly gradients: readonly (string | undefined)[]
  /** Values that are its results, by the input whose gradient they are. */
  readonly results: readonly (string | undefined)[]
  /** Values that are read for it, whatever the way. */
  readonly read: readonly string[]
  /** The standard nodes in its place. @returns values by input. */
  expand(emit: Emitter): readonly (string | undefined)[]
}

/** Rules for `gradient` that leave some gradients as nodes, and what those are by the node's first output. */
export function deferredRules(): { rules: GradientRules; deferred: ReadonlyMap<string, DeferredGradient> } {
  const deferred = new Map<string, DeferredGradient>()
  const defer =
    (operator: string): GradientRule =>
    (context) => {
      const { emit, node, inputs, outputs, gradients, needs } = context
      if (gradients[0] === undefined || gradients.slice(1).some((value) => value !== undefined) || !isPicture(context))
        return GRADIENT_RULES[operator]!(context)
      const isFixed = operator === 'BatchNormalization' && intAttribute(node, 'training_mode', 0) === 0
      if (isFixed && (needs(3) || needs(4))) return GRADIENT_RULES[operator]!(context)
      const wanted = differentiable(operator, inputs).map((input) => needs(input))
      const positions = wanted.flatMap((isWanted, input) => (isWanted ? [input] : []))
      if (positions.length === 0) return []
      const types = positions.map((input) => emit.type(inputs[input]!))
      const read = [...READS[operator]!(inputs, outputs), gradients[0]].flatMap((value) => (value ? [value] : []))
      const names = emit.ops(`${DEFERRED}::${operator}`, read, types)
      const results = inputs.map((_, input) => names[positions.indexOf(input)])
      const expand = (into: Emitter): readonly (string | undefined)[] =>
        GRADIENT_RULES[operator]!({ ...context, emit: into, needs: (input) => results[input] !== undefined })
      deferred.set(names[0]!, { node, inputs, outputs, gradients, results, read, expand })
      return results
    }
  return { rules: Object.fromEntries(Object.keys(READS).map((operator) => [operator, defer(operator)])), deferred }
}

/** Inputs that get gradients here; inputs for running statistics do not. */
function differentiable(operator: string, inputs: readonly string[]): number[] {
  const count = operator === 'BatchNormalization' ? 3 : inputs.length
  return [...inputs.keys()].slice(0, count)
}

/** Whether it is about float32 pictures `[N, C, H, W]`, which is what lowerings know. */
function isPicture({ emit, inputs }: RuleContext): boolean {
  const { dtype, shape } = emit.type(inputs[0]!)
  return dtype === 'float32' && shape.length === 4
}
