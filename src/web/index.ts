/** The whole library bound to browsers: everything of the main door, with files and `onnxruntime-web` in place. */
export * from '../index.ts'
export { type BrowserCheckpoints, browserCheckpoints } from './checkpoints.ts'
export { modelBlob, readModel } from './files.ts'
export { createWebRuntime, type OrtWebRuntime, type WebRuntimeOptions } from './runtime.ts'
