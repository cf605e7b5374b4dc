export {
  type AffineOptions,
  affineParameters,
  type IntegerLimits,
  integerLimits,
  rangeOf,
  roundHalfToEven,
} from './affine.ts'
export { INTEGER_TYPES, type IntegerFacts, type IntegerType, type Quantization, type Range } from './scheme.ts'
