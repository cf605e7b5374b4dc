export { type Decomposed, type DecomposeOptions, decompose } from './decompose.ts'
export { prepareModel } from './prepare.ts'
export { type ReplayOptions, replay } from './replay.ts'
export type { Runtime } from './runtime.ts'
