/**
 * Checkpoints in a folder. A new one is written beside the old one under another name, forced to disk, and takes its
 * place by a rename, which a file system does at once or not at all.
 */
import { existsSync, statSync } from 'node:fs'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import type { CheckpointStore } from '../train/index.ts'
import { fileError } from './file-error.ts'

const NAME = 'checkpoint.whittle'

/**
 * A folder as a store of checkpoints; it is made when it is not there.
 *
 * A kill at any moment leaves the previous checkpoint or the new one. When writing fails, say because the disk is full,
 * the previous one stays and what was written of the new one is removed.
 *
 * @throws WhittleError `INVALID_ARGUMENT` when the path is a file or the folder cannot be made.
 */
export async function checkpointFolder(path: string): Promise<CheckpointStore> {
  const folder = resolve(path)
  try {
    // Node's recursive form never ends where a folder is there and says otherwise, as those of /proc do.
    const found = statSync(folder, { throwIfNoEntry: false })
    if (!found?.isDirectory()) await mkdir(folder, { recursive: !existsSync(dirname(folder)) })
  } catch (error) {
    throw fileError(error, 'write', path)
  }
  const target = join(folder, NAME)
  const temporary = join(folder, `${NAME}.tmp`)
  return {
    where: `folder '${path}'`,
    async read() {
      try {
        return await readFile(target)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
        throw fileError(error, 'read', target)
      }
    },
    async write(chunks) {
      try {
        await writeThrough(temporary, chunks)
        await rename(temporary, target)
        await syncFolder(folder)
      } catch (error) {
        await rm(temporary, { force: true }).catch(() => undefined)
        throw fileError(error, 'write', target)
      }
    },
  }
}

/** Writes a file and waits until the disk has it. */
async function writeThrough(path: string, chunks: readonly Uint8Array[]): Promise<void> {
  const handle = await open(path, 'w')
  try {
    for (const chunk of chunks)
      for (let at = 0; at < chunk.byteLength; ) {
        const { bytesWritten } = await handle.write(chunk, at, Math.min(chunk.byteLength - at, 2 ** 30))
        at += bytesWritten
      }
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Makes a rename survive a power cut; Windows has no such call and needs none. */
async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
