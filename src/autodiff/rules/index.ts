/** Which operators have a gradient, and which have none. */
import { ACTIVATION_RULES } from './activations.ts'
import { BATCH_NORM_RULES } from './batch-norm.ts'
import { CONVOLUTION_RULES } from './convolution.ts'
import { EINSUM_RULES } from './einsum.ts'
import { ELEMENTWISE_RULES } from './elementwise.ts'
import { FUNCTION_RULES } from './functions.ts'
import { INDEXING_RULES } from './indexing.ts'
import { MATMUL_RULES } from './matmul.ts'
import { MOVEMENT_RULES } from './movement.ts'
import { NORMALIZATION_RULES } from './normalization.ts'
import { POOLING_RULES } from './pooling.ts'
import { QUANTIZATION_RULES } from './quantization.ts'
import { REDUCTION_RULES } from './reduction.ts'
import { RESIZE_RULES } from './resize.ts'
import { type GradientRules, mergeRules } from './rule.ts'
import { SLICING_RULES } from './slicing.ts'
import { SOFTMAX_RULES } from './softmax.ts'

/** The gradient rules, by operator of the standard domain. */
export const GRADIENT_RULES: GradientRules = mergeRules(
  ACTIVATION_RULES,
  BATCH_NORM_RULES,
  CONVOLUTION_RULES,
  EINSUM_RULES,
  ELEMENTWISE_RULES,
  FUNCTION_RULES,
  INDEXING_RULES,
  MATMUL_RULES,
  MOVEMENT_RULES,
  NORMALIZATION_RULES,
  POOLING_RULES,
  QUANTIZATION_RULES,
  REDUCTION_RULES,
  RESIZE_RULES,
  SLICING_RULES,
  SOFTMAX_RULES,
)

/**
 * Operators whose gradient is zero almost everywhere or does not exist: their inputs get none, as if they were
 * constant. Operators that are in neither list are errors when they lie on a way to a parameter.
 */
export const NON_DIFFERENTIABLE: ReadonlySet<string> = new Set(
  `
  And ArgMax ArgMin Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Constant ConstantOfShape
  ConvInteger DynamicQuantizeLinear Equal EyeLike Floor Greater GreaterOrEqual Hardmax IsInf IsNaN Less LessOrEqual
  MatMulInteger Multinomial NonMaxSuppression NonZero Not OneHot Or RandomNormal RandomNormalLike RandomUniform
  RandomUniformLike Range Shape Sign Size StringNormalizer TfIdfVectorizer Unique Xor
`
    .trim()
    .split(/\s+/),
)

/** Inputs of floating-point types that are settings of their operator and get no gradient, by position. */
export const SETTINGS: Readonly<Record<string, readonly number[]>> = {
  Dropout: [1],
  Resize: [1, 2],
}
