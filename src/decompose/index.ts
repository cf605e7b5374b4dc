export { type AmctKernel, type AmctRank, amctMatrixShape, amctRank, clampAmctRank } from './amct-rank.ts'
export { type EvbmfOptions, type EvbmfResult, evbmf } from './evbmf.ts'
export { type GramOptions, gramOfUnfolding, modeGram } from './gram.ts'
export type { Matrix, Matrix64, MatrixEngine } from './matrix.ts'
export { type BoundedMinimum, type MinimizeBoundedOptions, minimizeBounded } from './minimize-bounded.ts'
export { createPlainMatrixEngine } from './plain-matrix-engine.ts'
export { checkProduct, type ProductShape } from './product-shape.ts'
export {
  alignRank,
  fixedRank,
  rankFromEnergy,
  rankFromError,
  rankFromRatio,
  relativeErrorCurve,
} from './rank-policies.ts'
export { type SymmetricEigen, type SymmetricEigenOptions, symmetricEigen } from './symmetric-eigen.ts'
