/**
 * Files that appear all together or not at all: each is written under a temporary name in its own folder and renamed
 * when everything succeeded. A cancelled or failed job, or a second Ctrl-C, leaves nothing behind.
 *
 * Not guaranteed: survival of a power cut between the renames; nothing is forced to disk.
 */
import { existsSync, realpathSync, renameSync, rmSync, statSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { checkAborted, fail } from '../core/index.ts'
import { fileError } from './file-error.ts'

// Linux takes at most 1024 buffers in one vectored write.
const BUFFERS_PER_WRITE = 1024
const BYTES_PER_WRITE = 64 * 2 ** 20

let counter = 0

/** A set of files being written. */
export class StagedFiles {
  readonly #staged: { readonly temporary: string; readonly target: string }[] = []
  readonly #onExit = (): void => this.discard()

  /**
   * Writes one file under its temporary name.
   *
   * @param chunks the contents in order; not copied.
   * @throws WhittleError `ABORTED`; `INVALID_ARGUMENT` when the file cannot be written.
   */
  async write(
    path: string,
    chunks: Iterable<Uint8Array>,
    options: { signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    const target = targetOf(path)
    const temporary = join(dirname(target), `.${basename(target)}.${process.pid}.${counter++}.tmp`)
    let handle: FileHandle | undefined
    try {
      handle = await open(temporary, 'wx')
      if (this.#staged.length === 0) process.once('exit', this.#onExit)
      this.#staged.push({ temporary, target })
      await writeChunks(handle, chunks, options.signal)
    } catch (error) {
      throw fileError(error, 'write', path)
    } finally {
      await handle?.close()
    }
  }

  /** Writes a text file under its temporary name. */
  async writeText(path: string, text: string): Promise<void> {
    await this.write(path, [new TextEncoder().encode(text)])
  }

  /** Gives every file its real name, in the order they were written, replacing what was there. */
  commit(): void {
    try {
      for (let file = this.#staged[0]; file; file = this.#staged[0]) {
        renameSync(file.temporary, file.target)
        this.#staged.shift()
      }
    } catch (error) {
      const { target } = this.#staged[0]!
      this.discard()
      throw fileError(error, 'write', target)
    }
    process.removeListener('exit', this.#onExit)
  }

  /** Removes whatever was not committed. */
  discard(): void {
    for (const { temporary } of this.#staged.splice(0)) rmSync(temporary, { force: true })
    process.removeListener('exit', this.#onExit)
  }
}

/**
 * Checks that a file can be created, before the work that is to fill it.
 *
 * @throws WhittleError `INVALID_ARGUMENT` when the folder is missing or the path is a folder.
 */
export function checkWritable(path: string): void {
  const folder = dirname(resolve(path))
  if (!existsSync(folder))
    fail('INVALID_ARGUMENT', `Output '${path}': the folder '${folder}' does not exist. Create it first.`)
  if (!statSync(folder).isDirectory()) fail('INVALID_ARGUMENT', `Output '${path}': '${folder}' is not a folder.`)
  if (existsSync(path) && !statSync(path).isFile())
    fail('INVALID_ARGUMENT', `Output '${path}': is there already and not a file. Give the name of a file.`)
}

/** The file to replace: through a symbolic link, so that the link stays. */
function targetOf(path: string): string {
  checkWritable(path)
  return existsSync(path) ? realpathSync(path) : resolve(path)
}

async function writeChunks(
  handle: FileHandle,
  chunks: Iterable<Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<void> {
  let pending: Uint8Array[] = []
  let bytes = 0
  const flush = async (): Promise<void> => {
    checkAborted(signal)
    while (pending.length > 0) {
      const { bytesWritten } = await handle.writev(pending)
      pending = withoutFirst(pending, bytesWritten)
    }
    bytes = 0
  }
  for (const chunk of chunks) {
    // A single write moves less than 2 GiB, and Ctrl-C should not wait for all of it.
    for (let at = 0; at < chunk.byteLength; at += BYTES_PER_WRITE) {
      const piece = chunk.byteLength <= BYTES_PER_WRITE ? chunk : chunk.subarray(at, at + BYTES_PER_WRITE)
      pending.push(piece)
      bytes += piece.byteLength
      if (pending.length === BUFFERS_PER_WRITE || bytes >= BYTES_PER_WRITE) await flush()
    }
  }
  await flush()
}

/** What is left of the buffers after `count` bytes of them were written. */
function withoutFirst(buffers: readonly Uint8Array[], count: number): Uint8Array[] {
  let left = count
  let index = 0
  while (index < buffers.length && left >= buffers[index]!.byteLength) left -= buffers[index++]!.byteLength
  const rest = buffers.slice(index)
  if (left > 0 && rest[0]) rest[0] = rest[0].subarray(left)
  return rest
}
