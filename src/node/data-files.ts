/** Files and folders as the ports that `data/` reads from. */
import { closeSync, openSync, readSync } from 'node:fs'
import { open, readdir, readFile, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fail } from '../core/index.ts'
import type { ByteRange, ByteSource, ImageFile } from '../data/index.ts'

/** An entry of a folder, without hidden ones; links are followed. */
interface Entry {
  readonly name: string
  readonly path: string
  readonly isFolder: boolean
}

/** Picture formats that sharp decodes, by file extension. */
const PICTURE = /\.(jpe?g|png|webp|gif|tiff?|avif)$/i

/** Deeper folders than this below a class are a loop of links. */
const MAX_DEPTH = 16

/**
 * Up to so many bytes are read without waiting: each wait is a turn of the event loop, which the runtime blocks while it
 * computes and whose other threads its own keep from running for a while afterwards; 3 ms per batch of 32 small pictures.
 */
const AT_ONCE_BYTES = 2 ** 20

function readAtOnce(path: string, name: string, ranges: readonly ByteRange[]): Uint8Array[] {
  const file = openSync(path, 'r')
  try {
    return ranges.map(({ offset, length }) => {
      const bytes = new Uint8Array(length)
      for (let done = 0; done < length; ) {
        const count = readSync(file, bytes, done, length - done, offset + done)
        if (count === 0) fail('INVALID_FILE', `File '${name}' became shorter while it was being read.`)
        done += count
      }
      return bytes
    })
  } finally {
    closeSync(file)
  }
}

/** A file, read by ranges; it is open only while it is being read. @throws WhittleError `NOT_FOUND`. */
export async function fileSource(path: string): Promise<ByteSource> {
  const info = await stat(path).catch(() => undefined)
  if (!info?.isFile()) fail('NOT_FOUND', `There is no file '${path}'.`)
  const name = basename(path)
  return {
    name,
    size: info.size,
    async read(ranges) {
      if (ranges.reduce((sum, { length }) => sum + length, 0) <= AT_ONCE_BYTES) return readAtOnce(path, name, ranges)
      const file = await open(path, 'r')
      try {
        // All at once: one by one, each range costs a turn of the event loop.
        return await Promise.all(
          ranges.map(async ({ offset, length }) => {
            const bytes = new Uint8Array(length)
            for (let done = 0; done < length; ) {
              const { bytesRead } = await file.read(bytes, done, length - done, offset + done)
              if (bytesRead === 0) fail('INVALID_FILE', `File '${name}' became shorter while it was being read.`)
              done += bytesRead
            }
            return bytes
          }),
        )
      } finally {
        await file.close()
      }
    },
  }
}

/** What a folder holds, sorted by name (by code unit, as Python's `sorted` does). @throws WhittleError `NOT_FOUND`. */
export async function listFolder(path: string): Promise<Entry[]> {
  const names = await readdir(path).catch(() => undefined)
  if (!names) fail('NOT_FOUND', `There is no folder '${path}'.`)
  const visible = names.filter((name) => !name.startsWith('.')).sort()
  const entries = await Promise.all(
    visible.map(async (name) => {
      const info = await stat(join(path, name)).catch(() => undefined)
      return info && { name, path: join(path, name), isFolder: info.isDirectory() }
    }),
  )
  return entries.filter((entry) => entry !== undefined)
}

/** Pictures among entries, each with the label. */
function pictures(entries: readonly Entry[], label: number | undefined): ImageFile[] {
  return entries
    .filter((entry) => !entry.isFolder && PICTURE.test(entry.name))
    .map(({ name, path }) => ({ name, label, read: () => readFile(path) }))
}

async function picturesBelow(folder: string, label: number, depth = 0): Promise<ImageFile[]> {
  const entries = await listFolder(folder)
  const files = pictures(entries, label)
  if (depth === MAX_DEPTH) return files
  for (const entry of entries) if (entry.isFolder) files.push(...(await picturesBelow(entry.path, label, depth + 1)))
  return files
}

/** Class indices by folder: the number that a folder's name is, when all are numbers; else their place in the order. */
function labelFolders(folders: readonly Entry[]): { path: string; label: number }[] {
  const isNumbered = folders.every(({ name }) => /^\d{1,9}$/.test(name))
  return folders
    .map(({ name, path }, index) => ({ path, label: isNumbered ? Number(name) : index }))
    .sort((a, b) => a.label - b.label)
}

const SPLITS: Readonly<Record<'train' | 'test', readonly string[]>> = {
  train: ['train'],
  test: ['test', 'val', 'validation'],
}

/** The folder of a split, when the folder holds splits and nothing else. */
function splitFolder(entries: readonly Entry[], split: 'train' | 'test'): string | undefined {
  const folders = entries.filter(({ isFolder }) => isFolder)
  const known = [...SPLITS.train, ...SPLITS.test]
  if (folders.length < 2 || !folders.every(({ name }) => known.includes(name))) return undefined
  return SPLITS[split].flatMap((name) => folders.filter((folder) => folder.name === name))[0]?.path
}

/**
 * The pictures of a folder: with a label when they lie in one folder per class, without when they lie in it directly.
 *
 * Classes are the folders in order of their names, or the numbers that all names are (`0000`, `0005` …). Folders `train`
 * and `test` (`val`, `validation`) are taken as splits.
 *
 * @throws WhittleError `NOT_FOUND` when there is no folder; `INVALID_DATA` when it has no pictures, or both pictures and
 *   class folders.
 */
export async function listPictures(folder: string, split: 'train' | 'test'): Promise<ImageFile[]> {
  const entries = await listFolder(folder)
  const inner = splitFolder(entries, split)
  if (inner) return listPictures(inner, split)
  const flat = pictures(entries, undefined)
  const labelled: ImageFile[] = []
  for (const { path, label } of labelFolders(entries.filter(({ isFolder }) => isFolder)))
    labelled.push(...(await picturesBelow(path, label)))
  if (flat.length > 0 && labelled.length > 0)
    fail(
      'INVALID_DATA',
      `Folder '${folder}' must hold pictures or one folder per class; it holds ${flat.length} pictures beside class ` +
        'folders. Move the pictures into their classes.',
    )
  if (flat.length + labelled.length === 0)
    fail(
      'INVALID_DATA',
      `Folder '${folder}' holds no pictures. Pictures are files named .jpg, .jpeg, .png, .webp, .gif, .tif or .avif, in ` +
        'one folder per class, or directly in the folder when labels are not needed.',
    )
  return labelled.length > 0 ? labelled : flat
}
