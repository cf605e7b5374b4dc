export {
  type AbsorbedPair,
  type AbsorbOptions,
  type AbsorbRecord,
  absorbBiases,
  batchNormStatistics,
  type ChannelStatistics,
  scaleStatistics,
} from './absorb.ts'
export {
  type AffineOptions,
  affineParameters,
  type IntegerLimits,
  integerLimits,
  rangeOf,
  roundHalfToEven,
} from './affine.ts'
export { applyQuantize, fakeQuantize, type QuantizeApplied } from './apply.ts'
export { balanceFactors } from './balance.ts'
export { type BalancedLayer, type BalanceOptions, type BalanceRecord, balanceModel } from './balance-model.ts'
export { biasSafeScales, channelScales, dequantizeBias, type QuantizedBias, quantizeBias } from './bias.ts'
export { type BiasCorrectionRecord, type CorrectedBias, correctBiases, weightShift } from './bias-correction.ts'
export * from './calibration/index.ts'
export { type ChannelPath, type ChannelPaths, findChannelPaths } from './channel-path.ts'
export { channelMaxima } from './channel-view.ts'
export { type Codebook, clusterIntegers, clusterWeight, expandCodebook } from './cluster.ts'
export { type ClusteredWeight, type ClusterOptions, type ClusterRecord, clusterModel } from './cluster-model.ts'
export { type ApplyQuantizeOptions, opsetOf, type WeightOutcome } from './emit.ts'
export { type EqualizedPair, type EqualizeOptions, type EqualizeRecord, equalize } from './equalize.ts'
export type { QuantizeImprovements } from './improvements.ts'
export { normalizeLinear } from './normalize.ts'
export {
  QUANTIZE_FACTS,
  QUANTIZED_OPERATORS,
  type QuantizeFacts,
  type QuantizeRole,
  quantizedInputs,
  quantizedOutputs,
  quantizeFactsOf,
  weightAxis,
} from './operators.ts'
export { type LevelOptions, type Levels, optimalLevels } from './optimal-levels.ts'
export { preActivationOf } from './parameters.ts'
export {
  type ActivationChoice,
  type LayerChoice,
  planQuantize,
  type QuantizePlanContext,
  type QuantizePlanOptions,
} from './plan.ts'
export { describeScheme, recordQuantize } from './record.ts'
export {
  assertFloatModel,
  findQuantizable,
  isQuantized,
  type ObservedValues,
  outputChannels,
  type Quantizable,
  type QuantizableNode,
  type QuantizableOptions,
  type QuantizableTensor,
} from './regions.ts'
export * from './rollback/index.ts'
export { INTEGER_TYPES, type IntegerFacts, type IntegerType, type Quantization, type Range } from './scheme.ts'
export {
  type ActivationStep,
  type ConstantStep,
  QUANTIZE_PLAN_VERSION,
  type QuantizePlan,
  type QuantizeStep,
  type RoundingPlan,
} from './step.ts'
export * from './targets/index.ts'
export * from './weight-only/index.ts'
export {
  dequantizeWeight,
  integersOf,
  integerTensor,
  quantizeWeight,
  type WeightAlgorithm,
  type WeightError,
  type WeightQuantizationOptions,
  weightError,
  weightQuantization,
  weightRanges,
} from './weights.ts'
export { hasFloat16, widenFloat16 } from './widen.ts'
