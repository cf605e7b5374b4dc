export { type DiagnoseOptions, type Diagnosis, diagnose } from './diagnose.ts'
export type { Finding, FindingCode } from './finding.ts'
