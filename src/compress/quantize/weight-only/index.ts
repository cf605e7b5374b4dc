export { applyWeightOnly, type WeightOnlyApplied, type WeightOnlyOutcome } from './apply.ts'
export { BNB4_VALUES, type Bnb4Matrix, type Bnb4Type, fromBnb4, toBnb4 } from './bnb4-blocks.ts'
export {
  DTYPE_FACTS,
  parseWeightFormats,
  WEIGHT_FORMATS,
  type WeightFormat,
  type WeightFormatFacts,
  weightFormatFile,
} from './dtypes.ts'
export {
  applyFloat16,
  type Float16Island,
  type Float16IslandOptions,
  type Float16Options,
  findFloat16Islands,
  toHalf,
  type ValueTypes,
} from './float16.ts'
export { type FourBitMatrix, type FourBitOptions, fromFourBitBlocks, toFourBitBlocks } from './four-bit-blocks.ts'
export {
  planWeightOnly,
  type WeightOnlyContext,
  type WeightOnlyOptions,
  type WeightOnlyPlan,
  type WeightOnlyStep,
} from './plan.ts'
