// Compiles src/ into dist/: three projects (core, web, node), each with only the globals of its platform, one output; the
// command is bundled.
// Does nothing when no source changed since the last build.
import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { bundleCommand, ROLLDOWN_VERSION } from './bundle-command.mjs'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
const DIST = join(ROOT, 'dist')
/** Checked like everything else, but written by the bundler. */
const COMMAND = join(DIST, 'cli')
const STAMP = join(ROOT, '.cache', 'build.txt')
const PROJECTS = ['tsconfig.core.json', 'tsconfig.web.json', 'tsconfig.node.json']

function filesUnder(folder) {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
}

/** A hash over everything that the build reads. */
function fingerprint() {
  const hash = createHash('sha256').update(ts.version).update(ROLLDOWN_VERSION)
  const inputs = [
    ...filesUnder(join(ROOT, 'src')).filter((path) => !path.endsWith('.test.ts')),
    ...['tsconfig.base.json', 'package.json', ...PROJECTS].map((name) => join(ROOT, name)),
    ...['build.mjs', 'bundle-command.mjs'].map((name) => join(ROOT, 'scripts', name)),
  ]
  for (const path of inputs) hash.update(path).update('\0').update(readFileSync(path)).update('\0')
  return hash.digest('hex')
}

/** Parses a project file; the result has `fileNames`, `options` and `errors`. */
export function readProject(name) {
  const host = { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => {} }
  return ts.getParsedCommandLineOfConfigFile(join(ROOT, name), {}, host)
}

/** What is wrong in a project, one `file(line,column): message` per problem. */
export function describeDiagnostics(diagnostics) {
  const host = { getCanonicalFileName: (name) => name, getCurrentDirectory: () => ROOT, getNewLine: () => '\n' }
  return diagnostics.map((diagnostic) => ts.formatDiagnostic(diagnostic, host).trimEnd())
}

/** A compiler host that parses each file once for all projects. */
function sharedHost() {
  const host = ts.createCompilerHost({})
  const { getSourceFile } = host
  const parsed = new Map()
  host.getSourceFile = (path, ...rest) => {
    if (!parsed.has(path)) parsed.set(path, getSourceFile(path, ...rest))
    return parsed.get(path)
  }
  return host
}

/** Every project sees the core's sources through imports; it checks and emits only the files that are its own. */
function compile(name, outputs, host) {
  const { fileNames, options, errors } = readProject(name)
  if (fileNames.length === 0) return []
  const program = ts.createProgram(fileNames, { ...options, noEmit: false }, host)
  const diagnostics = [...errors, ...program.getOptionsDiagnostics(), ...program.getGlobalDiagnostics()]
  for (const path of fileNames) {
    const source = program.getSourceFile(path)
    diagnostics.push(...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source))
    if (source.isDeclarationFile) continue
    const emitted = program.emit(source, (output, text) => {
      const path = resolve(output)
      if (!path.startsWith(COMMAND + sep)) outputs.set(path, text)
    })
    diagnostics.push(...emitted.diagnostics)
  }
  return describeDiagnostics(diagnostics)
}

/**
 * Builds dist/ unless it is up to date. Nothing is written when a project has errors.
 *
 * @returns a line per problem; empty when dist/ is good.
 */
export async function build({ force = false } = {}) {
  const wanted = fingerprint()
  if (!force && existsSync(STAMP) && readFileSync(STAMP, 'utf8') === wanted && existsSync(DIST)) return []
  const outputs = new Map()
  const host = sharedHost()
  const problems = PROJECTS.flatMap((name) => compile(name, outputs, host))
  if (problems.length > 0) return [...new Set(problems)]
  for (const [path, text] of await bundleCommand(ROOT, COMMAND)) outputs.set(path, text)
  for (const path of filesUnder(DIST)) if (!outputs.has(path)) rmSync(path)
  for (const [path, text] of outputs) {
    if (existsSync(path) && readFileSync(path, 'utf8') === text) continue
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }
  chmodSync(join(COMMAND, 'main.js'), 0o755)
  mkdirSync(dirname(STAMP), { recursive: true })
  writeFileSync(STAMP, wanted)
  return []
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const problems = await build({ force: process.argv.includes('--force') })
  for (const problem of problems) console.error(problem)
  process.exitCode = problems.length > 0 ? 1 : 0
}
