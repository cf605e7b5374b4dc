export { type LearnedRounding, learnRounding, type RoundedBlock } from './learn-rounding.ts'
export type { RoundingContext, RoundingLayer, RoundingMethod, RoundingOptions } from './options.ts'
export type { RoundedLayer } from './round-layer.ts'
