export {
  binarySearchStrategy,
  type RankingSearchOptions,
  type RollbackStrategy,
  rankLayers,
  type StrategyStep,
  searchByRanking,
} from './binary-search.ts'
export { AMCT_ROLLBACK_FILES, type AmctRollbackFiles, type AmctRollbackRecord, amctRollbackFiles } from './files.ts'
export { type GreedySearchOptions, searchGreedily } from './greedy.ts'
export type {
  LayerRank,
  RollbackLayer,
  RollbackOutcome,
  RollbackProblem,
  RollbackRecord,
  RollbackTrial,
  Verdict,
} from './search.ts'
export { type ProductSums, quantizationSimilarity } from './similarity.ts'
