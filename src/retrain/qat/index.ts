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
export { finetuneQuantized, type QuantizedStart, type QuantizedTraining } from './train.ts'
export type { WeightQuantizer } from './weights.ts'
