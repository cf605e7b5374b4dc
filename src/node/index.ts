/** The whole library bound to Node: everything of the main door, with files and `onnxruntime-node` in place. */
export * from '../index.ts'
export { checkpointFolder } from './checkpoint-folder.ts'
export { DATA_FORMS, datasets, type OpenDatasetOptions, openDataset } from './data.ts'
export { externalDataBeside } from './external-data.ts'
export { fileError, withFileErrors } from './file-error.ts'
export { type FileOptions, fileLabel, loadModel, recordPath, type SaveOptions, saveModel, stageModel } from './files.ts'
export {
  type AnalyseOptions,
  analyseQuantization,
  type DecomposeOptions,
  type DiagnoseOptions,
  decompose,
  diagnose,
  evaluate,
  type FinetuneOptions,
  finetune,
  inspect,
  type QuantizeOptions,
  quantize,
  replay,
} from './library.ts'
export { createNodeRuntime, loadOnnxRuntime } from './runtime.ts'
export { createWorkerLoader, type WorkerLoaderOptions } from './sample-workers.ts'
export { checkWritable, StagedFiles } from './staged-files.ts'
