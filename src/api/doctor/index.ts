export { type DiagnoseOptions, type Diagnosis, diagnose } from './diagnose.ts'
export type { Finding, FindingCode } from './finding.ts'
export { findingText, InputWatch, quickFindings } from './quick-check.ts'
