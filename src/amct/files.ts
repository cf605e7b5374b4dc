/** Files of AMCT's calls. */
import { mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Model } from '../graph/index.ts'
import { fileError, loadModel, StagedFiles, stageModel } from '../node/index.ts'

/** A text file's contents. @throws WhittleError `NOT_FOUND`, `INVALID_ARGUMENT` when it cannot be read. */
export async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw fileError(error, 'read', path)
  }
}

/** A model, or the one in a file. */
export function modelOf(model: Model | string): Promise<Model> {
  return typeof model === 'string' ? loadModel(model) : Promise.resolve(model)
}

/** Writes texts and models so that all of them appear or none; folders are made. */
export async function writeFiles(files: Readonly<Record<string, string | Model>>): Promise<void> {
  const staged = new StagedFiles()
  try {
    for (const [path, contents] of Object.entries(files)) {
      try {
        await mkdir(dirname(path), { recursive: true })
      } catch (error) {
        throw fileError(error, 'write', path)
      }
      if (typeof contents === 'string') await staged.writeText(path, contents)
      else await stageModel(staged, contents, path)
    }
    staged.commit()
  } finally {
    staged.discard()
  }
}
