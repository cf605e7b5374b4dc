/**
 * Weights in files beside a model, read when they are first asked for.
 *
 * A model file may name any location, so files are opened only inside the model's own folder: links are followed and
 * what they lead to is checked too, and only regular files are read.
 */
import { closeSync, constants, fstatSync, openSync, readSync, realpathSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { fail } from '../core/index.ts'
import { assertSafeLocation, type ExternalDataReader } from '../onnx/index.ts'
import { fileError } from './file-error.ts'

// One read call moves less than 2 GiB.
const BYTES_PER_READ = 2 ** 30

/** A reader for the files beside the model at `modelPath`; throws `INVALID_MODEL`, `INVALID_FILE` or `NOT_FOUND`. */
export function externalDataBeside(modelPath: string): ExternalDataReader {
  const folder = dirname(modelPath)
  return {
    read(location, offset, length) {
      assertSafeLocation(location, `Model '${modelPath}'`)
      const path = join(folder, location)
      try {
        assertInside(folder, path, location)
        return readRange(path, offset, length)
      } catch (error) {
        throw fileError(error, 'read', path)
      }
    },
  }
}

function assertInside(folder: string, path: string, location: string): void {
  const way = relative(realpathSync(folder), realpathSync(path))
  if (way === '..' || way.startsWith(`..${sep}`) || way === '' || isAbsoluteWay(way))
    fail(
      'INVALID_MODEL',
      `External data '${location}': must lie in the model's folder; it is a link that leads out of it. Copy the file there.`,
    )
}

/** On Windows the way to another drive is an absolute path. */
function isAbsoluteWay(way: string): boolean {
  return /^([a-z]:|[\\/])/i.test(way)
}

function readRange(path: string, offset: number, length: number): Uint8Array {
  // O_NONBLOCK: opening a pipe would wait for its writer.
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const stats = fstatSync(descriptor)
    if (!stats.isFile()) fail('INVALID_FILE', `External data '${path}': must be a regular file.`)
    if (offset + length > stats.size)
      fail(
        'INVALID_FILE',
        `External data '${path}': the model needs bytes ${offset} to ${offset + length}; the file has ${stats.size}. ` +
          'It is cut off or belongs to another model.',
      )
    const bytes = new Uint8Array(length)
    for (let at = 0; at < length; ) {
      const count = readSync(descriptor, bytes, at, Math.min(BYTES_PER_READ, length - at), offset + at)
      if (count === 0) fail('INVALID_FILE', `External data '${path}': became shorter while it was read.`)
      at += count
    }
    return bytes
  } finally {
    closeSync(descriptor)
  }
}
