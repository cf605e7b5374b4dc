/** Which operators have a gradient, and which have none. */
import { ELEMENTWISE_RULES } from './elementwise.ts'
import { type GradientRules, mergeRules } from './rule.ts'

/** The gradient rules, by operator of the standard domain. */
export const GRADIENT_RULES: GradientRules = mergeRules(ELEMENTWISE_RULES)

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
