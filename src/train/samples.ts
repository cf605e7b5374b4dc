/**
 * From raw samples to what a training step takes: augmentation, preprocessing, target rows. Everything here is a pure
 * function of data and settings that survive structured cloning, so that it runs in a worker as it does in place.
 */
import { fail } from '../core/index.ts'
import {
  type Batch,
  type Dataset,
  fitToInput,
  type InputSpec,
  type Preprocess,
  preprocessBatch,
} from '../data/index.ts'
import { Tensor, toFloat32 } from '../tensor/index.ts'
import { type Augmentation, copyCropped, cutOut, type Draw, drawFor, drawMix, mixRows } from './augment.ts'
import type { SampleRun } from './sample-order.ts'
import { targetRows } from './targets.ts'

/** How samples are prepared. */
export interface SampleSettings {
  readonly seed: number
  readonly augmentation: Augmentation
  readonly preprocess: Preprocess
  /** What the model's inputs want, and the names that the data give theirs. */
  readonly inputs: readonly InputSpec[]
  readonly inputNames?: readonly string[] | undefined
  /** Samples per batch, for mixup. */
  readonly batch: number
  /** Classes of the target rows; absent: labels are not used. */
  readonly classes?: number | undefined
}

/** Samples ready for a training step. */
export interface PreparedSamples {
  /** One tensor per model input. */
  readonly inputs: readonly Tensor[]
  /** Rows `[N, C]`, when labels are used. */
  readonly targets?: Tensor | undefined
}

/** Prepares samples; one for every run of steps. */
export interface SampleLoader {
  /** Runs may be asked for ahead of time; they are delivered independently of each other. */
  load(run: SampleRun, signal?: AbortSignal): Promise<PreparedSamples>
  close(): Promise<void>
}

/** Whether pictures are cropped, mirrored, cut out or mixed at all. */
function isActive({ crop = 0, flip = false, cutout = 0, mixup = 0 }: Augmentation): boolean {
  return crop > 0 || flip || cutout > 0 || mixup > 0
}

/**
 * The normalisation as a table per channel: what each byte becomes. `undefined` where channels are mixed or values
 * depend on more than themselves.
 */
function byteTable(preprocess: Preprocess, channels: number): Float32Array[] | undefined {
  const separate = preprocess.channels === undefined && preprocess.geometryFor !== 'all'
  if (!separate) return undefined
  const ramp = Tensor.of(
    Float32Array.from({ length: 256 * channels }, (_, i) => Math.floor(i / channels)),
    [256, channels, 1, 1],
  )
  const { inputs } = preprocessBatch({ inputs: [ramp], size: 256 }, preprocess)
  const values = toFloat32(inputs[0]!)
  return Array.from({ length: channels }, (_, c) =>
    Float32Array.from({ length: 256 }, (_, b) => values[b * channels + c]!),
  )
}

const NO_DRAW: Draw = { top: 0, left: 0, flip: false, cutoutRow: 0, cutoutColumn: 0 }

/** The first input, cropped, mirrored, normalised and cut out. */
function preparePictures(raw: Tensor, run: SampleRun, settings: SampleSettings): Tensor {
  const { augmentation, preprocess, seed } = settings
  const [count = 0, channels = 0, height = 0, width = 0] = raw.shape
  if (raw.shape.length !== 4) {
    if (isActive({ ...augmentation, mixup: 0 }))
      fail(
        'INVALID_DATA',
        `Augmentation: crop, flip and cutout need pictures [N, C, H, W]; the samples are [${raw.shape.slice(1).join(', ')}] each.`,
      )
    return preprocessBatch({ inputs: [raw], size: count }, preprocess).inputs[0]!
  }
  const draws = Array.from(run.indices, (index) =>
    isActive(augmentation) ? drawFor(augmentation, { seed, epoch: run.epoch, index }, { height, width }) : NO_DRAW,
  )
  const { crop = 0, flip = false, cutout = 0 } = augmentation
  const bytes = raw.dtype === 'uint8' ? (raw.data as Uint8Array) : undefined
  const table = bytes && byteTable(preprocess, channels)
  const data = bytes ?? toFloat32(raw)
  let out = Tensor.of(new Float32Array(raw.size), raw.shape)
  const pixels = channels * height * width
  if (crop > 0 || flip || bytes)
    for (const [n, draw] of draws.entries())
      copyCropped(
        { data, start: n * pixels, channels, height, width },
        out.data as Float32Array,
        n * pixels,
        { ...draw, flip: flip && draw.flip },
        table,
      )
  else out = raw
  if (!table) out = preprocessBatch({ inputs: [out], size: count }, preprocess).inputs[0]!
  if (cutout > 0) {
    const [, planes = 0, rows = 0, columns = 0] = out.shape
    const copy = Float32Array.from(toFloat32(out))
    for (const [n, draw] of draws.entries())
      cutOut(
        { data: copy, start: n * planes * rows * columns, channels: planes, height: rows, width: columns },
        cutout,
        draw,
      )
    out = Tensor.of(copy, out.shape)
  }
  return out
}

/**
 * Prepares raw samples.
 *
 * @param raw the samples of `run`, in its order.
 * @throws WhittleError `INVALID_DATA` for labels out of range or data that cannot be augmented; `SHAPE_MISMATCH` when
 *   samples do not fit the model.
 */
export function prepareSamples(raw: Batch, run: SampleRun, settings: SampleSettings): PreparedSamples {
  const { inputs, inputNames, preprocess, classes, augmentation, batch, seed } = settings
  const first = preparePictures(raw.inputs[0]!, run, settings)
  let tensors = [first, ...raw.inputs.slice(1)]
  let targets = classes === undefined ? undefined : targetRows(labelsOf(raw), classes)
  const { mixup = 0 } = augmentation
  if (mixup > 0) {
    const mixed = Float32Array.from(toFloat32(first))
    const rows = targets && Float32Array.from(toFloat32(targets))
    for (let start = 0; start + batch <= raw.size; start += batch) {
      const mix = drawMix(mixup, batch, { seed, epoch: run.epoch, batch: run.firstBatch + start / batch })
      mixRows(mixed, first.size / raw.size, start, mix)
      if (rows) mixRows(rows, classes!, start, mix)
    }
    tensors = [Tensor.of(mixed, first.shape), ...tensors.slice(1)]
    targets = rows && Tensor.of(rows, targets!.shape)
  }
  if (tensors.length !== inputs.length)
    fail('INVALID_DATA', `The model has ${inputs.length} inputs; the data have ${tensors.length}.`)
  const ordered = inputs.map(({ name }, at) => {
    const position = inputNames ? inputNames.indexOf(name) : at
    return tensors[position] ?? fail('INVALID_DATA', `Model input '${name}' has no data.`)
  })
  return { inputs: ordered.map((tensor, at) => fitToInput(tensor, inputs[at]!, preprocess.layout)), targets }
}

function labelsOf({ labels }: Batch): Int32Array {
  return (
    labels ?? fail('INVALID_DATA', 'The loss uses labels; the data have none. Give labelled data, or a teacher alone.')
  )
}

/** The dataset with random access; sources that only stream are read into memory, once. */
export function sampleReader(dataset: Dataset): (indices: Int32Array, signal?: AbortSignal) => Promise<Batch> {
  if (dataset.read) return (indices, signal) => dataset.read!(indices, signal)
  let all: Batch[] | undefined
  return async (indices) => {
    if (!all) {
      const samples: Batch[] = []
      for await (const sample of dataset.batches({ batch: 1 })) samples.push(sample)
      all = samples
    }
    const samples = all
    const chosen = Array.from(indices, (index) => samples[index]!)
    const inputs = chosen[0]!.inputs.map((_, at) => stack(chosen.map((sample) => sample.inputs[at]!)))
    const labels = chosen[0]!.labels && Int32Array.from(chosen, (sample) => sample.labels![0]!)
    return { inputs, labels, size: indices.length }
  }
}

function stack(rows: readonly Tensor[]): Tensor {
  const { dtype, shape, byteLength } = rows[0]!
  const bytes = new Uint8Array(byteLength * rows.length)
  for (const [at, row] of rows.entries()) bytes.set(row.bytes, at * byteLength)
  return Tensor.fromBytes(dtype, [rows.length, ...shape.slice(1)], bytes)
}

/** Prepares samples in place, between the engine's runs; where there are no workers. */
export function createSampleLoader(dataset: Dataset, settings: SampleSettings): SampleLoader {
  const sized = sizedFor(dataset, settings)
  const read = sampleReader(sized.dataset)
  return {
    load: async (run, signal) => prepareSamples(await read(run.indices, signal), run, sized.settings),
    close: async () => undefined,
  }
}

/** The dataset with pictures of the size that the preprocessing gives them, for sources that resize while reading. */
export function sizedFor(
  dataset: Dataset,
  settings: SampleSettings,
): { readonly dataset: Dataset; readonly settings: SampleSettings } {
  const { preprocess } = settings
  const sized = preprocess.geometry && dataset.withGeometry?.(preprocess.geometry)
  if (!sized) return { dataset, settings }
  return { dataset: sized, settings: { ...settings, preprocess: { ...preprocess, geometryFor: 'pictures' } } }
}
