export { type NonNegativeTucker, type NonNegativeTuckerOptions, nonNegativeTucker } from './non-negative.ts'
export { type PartialTucker, type PartialTuckerOptions, partialTucker, type TuckerReport } from './partial-tucker.ts'
export { type TuckerDecomposition, type TuckerOptions, tucker } from './tucker.ts'
