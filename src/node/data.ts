/** Opens datasets on disk, by what `--data` takes: `cifar10:DIR`, `mnist:DIR`, `images:DIR`, `npz:FILE`, `bin:DIR`. */
import { stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { fail } from '../core/index.ts'
import {
  binDataset,
  cifar10Dataset,
  type Dataset,
  imageDataset,
  mnistDataset,
  npzDataset,
  parseDataTypes,
  parseInputShapes,
} from '../data/index.ts'
import { fileSource, listFolder, listPictures } from './data-files.ts'
import { imageDecoder } from './images.ts'

/** Options of {@link openDataset}. */
export interface OpenDatasetOptions {
  /** Which part is read, where the data have parts; default `test`. */
  readonly split?: 'train' | 'test' | undefined
  /** `bin:` only: names and shapes of the model inputs, batch axis included, e.g. `input:16,3,224,224`. */
  readonly inputShape?: string | undefined
  /** `bin:` only: element types, one for all or one per input; default `float32`. */
  readonly dataType?: string | undefined
}

/** The forms of a dataset's name. */
export const DATA_FORMS: readonly string[] = ['cifar10:DIR', 'mnist:DIR', 'images:DIR', 'npz:FILE', 'bin:DIR']

const isFile = async (path: string): Promise<boolean> => (await stat(path).catch(() => undefined))?.isFile() ?? false

async function openCifar10(folder: string, { split = 'test' }: OpenDatasetOptions): Promise<Dataset> {
  const entries = await listFolder(folder)
  const inner = entries.find(({ name, isFolder }) => isFolder && name === 'cifar-10-batches-bin')
  const pattern = split === 'test' ? /^test_batch\.bin$/ : /^data_batch_\d+\.bin$/
  const files = entries.filter(({ name, isFolder }) => !isFolder && pattern.test(name))
  if (files.length === 0 && inner) return openCifar10(inner.path, { split })
  if (files.length === 0)
    fail(
      'NOT_FOUND',
      `Folder '${folder}' has no ${split === 'test' ? 'test_batch.bin' : 'data_batch_1.bin …'} for split '${split}'. ` +
        'Unpack the binary version of CIFAR-10 there.',
    )
  return cifar10Dataset(await Promise.all(files.map(({ path }) => fileSource(path))), `cifar10:${split}`)
}

async function openMnist(folder: string, { split = 'test' }: OpenDatasetOptions): Promise<Dataset> {
  const part = split === 'test' ? 't10k' : 'train'
  const find = async (kind: string): Promise<string> => {
    const stems = [`${part}-${kind}-ubyte`, `${part}-${kind.replace('-', '.')}-ubyte`]
    for (const stem of stems)
      for (const name of [stem, `${stem}.gz`]) if (await isFile(join(folder, name))) return join(folder, name)
    return fail('NOT_FOUND', `Folder '${folder}' has no file '${stems[0]}' or '${stems[0]}.gz' for split '${split}'.`)
  }
  const images = await fileSource(await find('images-idx3'))
  return mnistDataset(images, await fileSource(await find('labels-idx1')), `mnist:${split}`)
}

async function openImages(folder: string, { split = 'test' }: OpenDatasetOptions): Promise<Dataset> {
  const files = await listPictures(folder, split)
  return imageDataset(files, { name: `images:${basename(resolve(folder))}`, decoder: imageDecoder })
}

async function openNpz(file: string, { split }: OpenDatasetOptions): Promise<Dataset> {
  return npzDataset(await fileSource(file), { name: `npz:${basename(file)}`, split })
}

async function openBin(folders: string, { inputShape, dataType = 'float32' }: OpenDatasetOptions): Promise<Dataset> {
  if (inputShape === undefined)
    fail(
      'INVALID_ARGUMENT',
      `Data 'bin:${folders}' needs the input's name and shape with the batch axis: --input-shape "input:1,3,224,224".`,
    )
  const shapes = parseInputShapes(inputShape)
  const paths = folders.split(';').filter((path) => path !== '')
  const files = await Promise.all(
    paths.map(async (path) => {
      const raw = (await listFolder(path)).filter(({ name, isFolder }) => !isFolder && name.endsWith('.bin'))
      if (raw.length === 0) fail('INVALID_DATA', `Folder '${path}' holds no .bin files.`)
      return Promise.all(raw.map((entry) => fileSource(entry.path)))
    }),
  )
  const name = `bin:${paths.map((path) => basename(resolve(path))).join(';')}`
  return binDataset(files, shapes, parseDataTypes(dataType, shapes.length), name)
}

const OPENERS: Readonly<Record<string, (location: string, options: OpenDatasetOptions) => Promise<Dataset>>> = {
  cifar10: openCifar10,
  mnist: openMnist,
  images: openImages,
  npz: openNpz,
  bin: openBin,
}

/**
 * Opens a dataset.
 *
 * - `cifar10:DIR`: binary batches; `test_batch.bin`, or all `data_batch_*.bin` for split `train`.
 * - `mnist:DIR`: idx files, gzipped or not.
 * - `images:DIR`: one folder per class, or pictures directly in it when labels are not needed.
 * - `npz:FILE`: arrays `x` and `y`.
 * - `bin:DIR` or `bin:DIR1;DIR2`: raw tensors, one folder per model input, one file per batch.
 *
 * @throws WhittleError `INVALID_ARGUMENT` for another form; `NOT_FOUND`, `INVALID_FILE` and `INVALID_DATA` when the data
 *   are missing, damaged or empty.
 */
export async function openDataset(spec: string, options: OpenDatasetOptions = {}): Promise<Dataset> {
  const colon = spec.indexOf(':')
  const open = OPENERS[spec.slice(0, Math.max(colon, 0))]
  const location = spec.slice(colon + 1)
  const { split } = options
  if (!open || location === '')
    fail('INVALID_ARGUMENT', `Data '${spec}' must have one of the forms ${DATA_FORMS.join(', ')}.`)
  if (split !== undefined && split !== 'train' && split !== 'test')
    fail('INVALID_ARGUMENT', `Split '${String(split)}' must be 'train' or 'test'.`)
  return open(location, options)
}

/** The datasets of {@link openDataset}, one function each. */
export const datasets = {
  /** CIFAR-10's binary batches in a folder. */
  cifar10: (folder: string, options: OpenDatasetOptions = {}): Promise<Dataset> => openCifar10(folder, options),
  /** MNIST's idx files in a folder. */
  mnist: (folder: string, options: OpenDatasetOptions = {}): Promise<Dataset> => openMnist(folder, options),
  /** A folder of pictures. */
  images: (folder: string, options: OpenDatasetOptions = {}): Promise<Dataset> => openImages(folder, options),
  /** A NumPy archive. */
  npz: (file: string, options: OpenDatasetOptions = {}): Promise<Dataset> => openNpz(file, options),
  /** Folders of raw tensors, `DIR` or `DIR1;DIR2`. */
  bin: (folders: string, options: OpenDatasetOptions): Promise<Dataset> => openBin(folders, options),
} as const
