// Makes a clone ready: installs the dependencies when they are missing or not those of package-lock.json, and builds
// dist/ when a source changed. Imports nothing but Node, so that it runs before anything is installed.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
const NODE_NEEDED = [20, 19]

function stop(message) {
  console.error(message)
  process.exit(1)
}

function readLock(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8')).packages
  } catch {
    return undefined
  }
}

/** Whether node_modules holds what package-lock.json lists. npm leaves packages for other platforms out. */
function isInstalled() {
  const wanted = readLock(join(ROOT, 'package-lock.json'))
  const found = readLock(join(ROOT, 'node_modules', '.package-lock.json'))
  if (!wanted) stop('package-lock.json is missing or damaged. Restore it with: git checkout package-lock.json')
  if (!found) return false
  return Object.entries(wanted).every(
    ([path, { version, optional }]) =>
      path === '' || found[path]?.version === version || (optional && !existsSync(join(ROOT, path))),
  )
}

function install() {
  console.error('Installing dependencies (about 600 MB, once) …')
  // The install script of onnxruntime-node downloads GPU libraries, which nothing here needs. npm 11.19 and later
  // already leave it out (`allowScripts` in package.json); this setting tells the script itself, for older npm.
  const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' }
  const options = ['ci', '--no-audit', '--no-fund', '--loglevel=error']
  const npm = process.env.npm_execpath
  const inherited = { cwd: ROOT, env, encoding: 'utf8' }
  const result = npm?.endsWith('.js')
    ? spawnSync(process.execPath, [npm, ...options], inherited)
    : spawnSync('npm', options, { ...inherited, shell: process.platform === 'win32' })
  if (result.error) stop(`npm could not be started: ${result.error.message}`)
  if (result.status !== 0)
    stop(`${result.stdout}${result.stderr}\nnpm ci failed (exit code ${result.status}); its own words are above.`)
}

/** Installs and builds what is missing or stale. */
export async function setup() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < NODE_NEEDED[0] || (major === NODE_NEEDED[0] && minor < NODE_NEEDED[1]))
    stop(`Node ${NODE_NEEDED.join('.')} or later is needed; this is ${process.versions.node}.`)
  if (!isInstalled()) install()
  const { build } = await import('./build.mjs')
  const problems = await build()
  if (problems.length > 0) stop(`${problems.join('\n')}\nThe build failed.`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await setup()
