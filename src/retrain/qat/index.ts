export type { ActivationQuantizer } from './activations.ts'
export type { FakeQuantized } from './network.ts'
export { toFakeQuantized } from './network.ts'
export type {
  InitialScale,
  LayerQatOptions,
  QatAlgorithm,
  QatWeightAlgorithm,
  QuantizerOptions,
} from './options.ts'
export {
  type DeployedNetwork,
  deployQuantized,
  finetuneQuantized,
  type QuantizedNetwork,
  type QuantizedStart,
  type QuantizedTraining,
  quantizedNetwork,
  trainQuantizedNetwork,
} from './train.ts'
export type { WeightQuantizer } from './weights.ts'
