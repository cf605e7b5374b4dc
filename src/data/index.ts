export { binDataset, type InputShape, parseDataTypes, parseInputShapes } from './bin.ts'
export { type ByteRange, type ByteSource, memorySource } from './byte-source.ts'
export { CIFAR10_CLASSES, cifar10Dataset } from './cifar10.ts'
export type { Batch, BatchOptions, Dataset } from './dataset.ts'
export {
  type EvaluateExecutableOptions,
  type EvaluateOptions,
  type Evaluation,
  evaluateExecutable,
  evaluateModel,
  type ModelEvaluation,
} from './evaluate.ts'
export {
  type Feed,
  type FeedOptions,
  feedsOf,
  fitToInput,
  type InputSpec,
  modelInputs,
  pictureExtentOf,
} from './feeds.ts'
export { applyGeometry, type Extent, type Geometry } from './geometry.ts'
export {
  type DecodedImage,
  type ImageDatasetOptions,
  type ImageDecoder,
  type ImageFile,
  imageDataset,
} from './image-dataset.ts'
export { createMetrics, type Metrics, type MetricsCollector } from './metrics.ts'
export { mnistDataset } from './mnist.ts'
export { decodeNpy } from './npy.ts'
export { type NpzOptions, npzDataset } from './npz.ts'
export {
  type Channels,
  PREPROCESS_KEY,
  PRESETS,
  type Preprocess,
  type PresetName,
  preprocessBatch,
  preprocessDataset,
  preset,
} from './preprocess.ts'
export { parsePreprocess } from './preprocess-json.ts'
export { type Filter, type Picture, resample } from './resample.ts'
export { type PreprocessChoice, resolvePreprocess } from './resolve-preprocess.ts'
export { tensorDataset } from './rows-dataset.ts'
export { createDataset, type SampleSource } from './sample-source.ts'
