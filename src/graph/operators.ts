/**
 * Facts about operators, as data. Shared code asks these facts and never compares operator names.
 * Source: ONNX operator specification, docs/Operators.md (onnx v1.22.0).
 */

/** Where an operator keeps its weight and how the weight's axes are laid out. */
export interface WeightFacts {
  /** Index of the weight among the inputs. */
  readonly weightInput: number
  /** Index of the bias among the inputs, `undefined` when the operator has none. */
  readonly biasInput: number | undefined
  /** What kind of linear map it is. */
  readonly kind: 'convolution' | 'transposed-convolution' | 'linear'
}

/** Operators whose second input is a weight that compression methods may replace. */
export const WEIGHT_FACTS: Readonly<Record<string, WeightFacts>> = {
  // Weight [out, in / group, kernel…]
  Conv: { weightInput: 1, biasInput: 2, kind: 'convolution' },
  // Weight [in, out / group, kernel…]
  ConvTranspose: { weightInput: 1, biasInput: 2, kind: 'transposed-convolution' },
  // Weight [in, out], or [out, in] with transB
  Gemm: { weightInput: 1, biasInput: 2, kind: 'linear' },
  // Weight [in, out] as the right operand
  MatMul: { weightInput: 1, biasInput: undefined, kind: 'linear' },
}

/** The weight facts of a node's operator, if it carries a weight. */
export function weightFactsOf(node: { readonly opType: string; readonly domain: string }): WeightFacts | undefined {
  if (node.domain !== '' && node.domain !== 'ai.onnx') return undefined
  return Object.hasOwn(WEIGHT_FACTS, node.opType) ? WEIGHT_FACTS[node.opType] : undefined
}
