export { type AmctKernel, type AmctRank, amctMatrixShape, amctRank, clampAmctRank } from './amct-rank.ts'
export { type AmctRankOptions, amctRankOfMatrix } from './amct-rank-of-matrix.ts'
export {
  type CholeskyFactor,
  maybeCholesky,
  type PositiveSolution,
  solveLower,
  solveLowerTransposed,
  solveSymmetricPositive,
} from './cholesky.ts'
export type {
  Contraction,
  ContractionInputs,
  ContractionOutputs,
  ContractionSpec,
  SolvedUpdate,
  UpdateEquations,
} from './contraction.ts'
export type { CpOptions, CpProgress, CpResult } from './cp/cp-options.ts'
export { type NonNegativeParafacOptions, nonNegativeParafac } from './cp/non-negative-parafac.ts'
export { type ParafacOptions, parafac } from './cp/parafac.ts'
export { type StableCpResult, type StableParafacOptions, stableParafac } from './cp/stable-parafac.ts'
export {
  type EconomySvdOptions,
  economySvd,
  type RandomizedSvdOptions,
  randomizedSvd,
  type SvdFlipOptions,
  svdFlip,
} from './economy-svd.ts'
export { type EvbmfOptions, type EvbmfResult, evbmf } from './evbmf.ts'
export { type GramOptions, gramOfUnfolding, modeGram } from './gram.ts'
export {
  chooseSubspaceMethod,
  type LeadingSubspaceOptions,
  leadingLeftSubspace,
  modeSubspace,
} from './leading-subspace.ts'
export { leastSquares } from './least-squares.ts'
export { type MatrixFactors, matrixFactorRows, matrixFactors } from './low-rank.ts'
export type { Matrix, Matrix64, MatrixEngine, ModeStep, Slices } from './matrix.ts'
export { sumOfSquares } from './matrix-layout.ts'
export { type BoundedMinimum, type MinimizeBoundedOptions, minimizeBounded } from './minimize-bounded.ts'
export { contractInputs, contractOutputs, type Tensor3 } from './mode-product.ts'
export { type NnlsOptions, type NnlsResult, nnls } from './nnls.ts'
export { createPlainMatrixEngine } from './plain-matrix-engine.ts'
export { checkProduct, checkSlicesProduct, type ProductShape } from './product-shape.ts'
export { type QrFactors, thinQr } from './qr.ts'
export { type RangeFinderOptions, rangeFinder } from './range-finder.ts'
export {
  alignRank,
  fixedRank,
  rankFromEnergy,
  rankFromError,
  rankFromRatio,
  relativeErrorCurve,
} from './rank-policies.ts'
export { type RobustPca, type RobustPcaOptions, robustPca } from './robust-pca.ts'
export { estimateSingularValues, type SpectrumEstimateOptions } from './spectrum-estimate.ts'
export {
  type SingularValuesOptions,
  singularValues,
  type TruncatedSvd,
  type TruncatedSvdOptions,
  truncatedSvd,
} from './svd.ts'
export { type SymmetricEigen, type SymmetricEigenOptions, symmetricEigen } from './symmetric-eigen.ts'
export { modeDotWith, multiModeDotWith, unfoldingDotKhatriRaoWith } from './tensor-products.ts'
export {
  type TensorTrain,
  type TensorTrainMatrix,
  type TensorTrainMatrixOptions,
  type TensorTrainOptions,
  type TrainErrorBound,
  type TrainRanks,
  tensorTrain,
  tensorTrainMatrix,
} from './tensor-train.ts'
export { ttRound } from './tt-round.ts'
export {
  type NonNegativeTucker,
  type NonNegativeTuckerOptions,
  nonNegativeTucker,
  type PartialTucker,
  type PartialTuckerOptions,
  partialTucker,
  type TuckerDecomposition,
  type TuckerOptions,
  type TuckerReport,
  tucker,
} from './tucker/index.ts'
export { type Tucker2, type Tucker2Options, tucker2 } from './tucker2.ts'
export { type VbmfOptions, type VbmfResult, vbmf } from './vbmf.ts'
