// Bundles the `whittle` command: some 400 modules become a few files per command, since reading and linking modules one
// by one took three quarters of the time from start to work. The library itself is published file by file.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { VERSION as ROLLDOWN_VERSION, rolldown } from 'rolldown'

export { ROLLDOWN_VERSION }

/** Threads that the command starts are programs of their own; they look for theirs beside the file that starts them. */
const THREADS = ['node/sample-worker.ts']

/**
 * The files of dist/cli by path.
 *
 * All lie in one folder, so that what is found relative to a module (`import.meta.url`) is beside every file. Packages
 * stay outside: they are installed with this one, and the native ones could not be bundled.
 *
 * @throws Error when a module is missing or cannot be read.
 */
export async function bundleCommand(root, folder) {
  const { dependencies, peerDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const packages = Object.keys({ ...dependencies, ...peerDependencies })
  const bundle = await rolldown({
    input: ['cli/main.ts', ...THREADS].map((path) => join(root, 'src', path)),
    platform: 'node',
    external: (id) => packages.some((name) => id === name || id.startsWith(`${name}/`)),
    // Modules say by `sideEffects` in package.json that they may be left out.
    cwd: root,
    logLevel: 'silent',
  })
  try {
    const { output } = await bundle.generate({
      dir: folder,
      format: 'esm',
      sourcemap: true,
      // As in the maps of the library: the package holds no sources.
      sourcemapExcludeSources: true,
      comments: false,
      entryFileNames: '[name].js',
      chunkFileNames: '[name]-[hash].js',
    })
    const files = new Map()
    for (const part of output) files.set(join(folder, part.fileName), part.type === 'chunk' ? part.code : part.source)
    return files
  } finally {
    await bundle.close()
  }
}
