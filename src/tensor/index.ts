export { type ContractOptions, contract, inner, type ModePairs } from './contract.ts'
export { cpModeDot } from './cp-mode-dot.ts'
export { cpPermuteFactors, type PermutedCp } from './cp-permute-factors.ts'
export { cpIntensity, cpSensitivity } from './cp-sensitivity.ts'
export { type CpFlipSignOptions, cpFlipSign } from './cp-signs.ts'
export {
  type CpShape,
  type CpTensor,
  type CpToTensorOptions,
  cpNorm,
  cpNormalize,
  cpParameterCount,
  cpToTensor,
  cpToUnfolded,
  cpToVec,
  validateCpRank,
  validateCpTensor,
} from './cp-tensor.ts'
export { byteLengthOf, DTYPES, type DType, isFloat, maybeDType, type TypedArray } from './dtype.ts'
export {
  type FactoredMatrix,
  type FactoredMatrixShape,
  factoredMatrixNorm,
  factoredMatrixParameterCount,
  factoredMatrixToTensor,
  factoredMatrixToUnfolded,
  factoredMatrixToVec,
  validateFactoredMatrix,
  validateFactoredMatrixRank,
} from './factored-matrix.ts'
export { bfloat16ToNumber, float16ToNumber, numberToBfloat16, numberToFloat16 } from './half.ts'
export { type KhatriRaoOptions, type KroneckerOptions, khatriRao, kronecker } from './khatri-rao.ts'
export {
  type ModeDotOptions,
  type ModeProduct,
  type ModeProductPlan,
  type MultiModeDotOptions,
  modeDot,
  multiModeDot,
  planModeProducts,
} from './mode-dot.ts'
export { unfoldingDotKhatriRao, validateWeightedFactors, type WeightedFactors } from './mttkrp.ts'
export { type FormatTensorOptions, formatTensor, type Nested, tensor, toNested } from './nested.ts'
export { norm } from './norm.ts'
export { normAlong } from './norm-along.ts'
export { batchedOuter, outer } from './outer.ts'
export {
  type PartialUnfoldOptions,
  type PartialVecOptions,
  partialFold,
  partialTensorToVec,
  partialUnfold,
  partialVecToTensor,
} from './partial-unfolding.ts'
export { moveaxis, transposeTensor } from './permute.ts'
export { columnMajor, multiplyInto, rowMajor } from './product.ts'
export { type RandomTensorOptions, randomCp, randomTensor, randomTt, randomTucker } from './random-tensors.ts'
export type { RankOptions, RankRounding, RankRule } from './rank-rules.ts'
export { sumOfSquares } from './sum-of-squares.ts'
export { fromNumbers, sizeOf, Tensor, toFloat32, toFloat64 } from './tensor.ts'
export {
  type TtMatrix,
  type TtMatrixShape,
  ttMatrixNorm,
  ttMatrixParameterCount,
  ttMatrixToMatrix,
  ttMatrixToTensor,
  ttMatrixToUnfolded,
  ttMatrixToVec,
  validateTtMatrix,
  validateTtMatrixRank,
} from './tt-matrix.ts'
export {
  type TtRankOptions,
  type TtShape,
  type TtTensor,
  ttNorm,
  ttParameterCount,
  ttToTensor,
  ttToUnfolded,
  ttToVec,
  validateTtRank,
  validateTtTensor,
} from './tt-tensor.ts'
export { type TuckerModeDotOptions, tuckerModeDot } from './tucker-mode-dot.ts'
export {
  type TuckerRankOptions,
  type TuckerShape,
  type TuckerTensor,
  type TuckerToTensorOptions,
  tuckerNorm,
  tuckerNormalize,
  tuckerParameterCount,
  tuckerToTensor,
  tuckerToUnfolded,
  tuckerToVec,
  validateTuckerRank,
  validateTuckerTensor,
} from './tucker-tensor.ts'
export {
  fold,
  matricize,
  tensorToVec,
  type UnfoldingOrder,
  type UnfoldOptions,
  unfold,
  vecToTensor,
} from './unfolding.ts'
