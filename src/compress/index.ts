export { matchesAny } from '../core/index.ts'
export * from './low-rank/index.ts'
export type { CompressionRecord, Cost, LayerRecord, Measurement, Plan, Skip } from './method.ts'
export { findSites, type ObservedShapes, type Site, type SiteList } from './sites.ts'
