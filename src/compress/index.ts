export * from './low-rank/index.ts'
export type { CompressionRecord, Cost, LayerRecord, Measurement, Plan, Skip } from './method.ts'
export { findSites, matchesAny, type ObservedShapes, type Site, type SiteList } from './sites.ts'
