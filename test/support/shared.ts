/** Where the tests find real models and data: the folder WHITTLE_SHARED, or `../shared` beside the repository. */
import { existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const folder = resolve(root, process.env.WHITTLE_SHARED ?? '../shared')

/** The path of a file or folder there, or `undefined`, with the reason printed, when it is absent. */
export function maybeShared(...parts: string[]): string | undefined {
  const path = join(folder, ...parts)
  if (existsSync(path)) return path
  console.warn(`Skipped: '${parts.join('/')}' is not in the folder of shared models and data (set WHITTLE_SHARED).`)
  return undefined
}
