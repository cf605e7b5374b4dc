// Everything but the tests that has to hold before a change goes in. Each check prints one line, and what is wrong.
import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { join } from 'node:path'
import { setup } from './setup.mjs'

const ROOT = join(import.meta.dirname, '..')
const MAX_LINES = 500
await setup()
const { default: ts } = await import('typescript')
const { rolldown } = await import('rolldown')
const { describeDiagnostics, readProject } = await import('./build.mjs')
const { checkLayers } = await import('./check-layers.mjs')
const { checkDocs } = await import('./check-docs.mjs')
const { makeReference } = await import('./make-reference.mjs')
const { runNotebook } = await import('./notebook.mjs')

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
const doors = Object.entries(manifest.exports).filter(([, path]) => path.endsWith('.js'))
const sourceOf = (path) => join(ROOT, path.replace(/^\.\/dist\//, 'src/').replace(/\.js$/, '.ts'))
const tracked = () =>
  execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: ROOT, encoding: 'utf8' })
    .split('\0')
    .filter((path) => path !== '')

/** The three projects of dist/ were checked by the build; this one adds tests, benchmarks and examples. */
function types() {
  const { fileNames, options, errors } = readProject('tsconfig.test.json')
  const program = ts.createProgram(fileNames, options)
  return describeDiagnostics([...errors, ...ts.getPreEmitDiagnostics(program)])
}

function lint() {
  const biome = join(ROOT, 'node_modules', '@biomejs', 'biome', 'bin', 'biome')
  const { status, stdout, stderr } = spawnSync(process.execPath, [biome, 'check', '--colors=off', '.'], {
    cwd: ROOT,
    encoding: 'utf8',
  })
  return status === 0 ? [] : [`${stdout}${stderr}`.trim()]
}

function sizes() {
  return tracked()
    .filter((path) => /^(src|scripts|test|bench|examples)\/.*\.(ts|mjs)$/.test(path) && !path.includes('.generated.'))
    .map((path) => [path, readFileSync(join(ROOT, path), 'utf8').split('\n').length - 1])
    .filter(([, lines]) => lines > MAX_LINES)
    .map(([path, lines]) => `${path}: ${lines} lines; at most ${MAX_LINES}`)
}

async function exportsInNode() {
  const problems = []
  for (const [subpath] of doors) {
    const specifier = manifest.name + subpath.slice(1)
    try {
      const names = Object.keys(await import(specifier))
      if (names.length === 0) problems.push(`${specifier}: exports nothing`)
    } catch (error) {
      problems.push(`${specifier}: ${error.message}`)
    }
  }
  return problems
}

/** Doors that work on files. */
const NODE_DOORS = ['./node', './amct']

/** Bundles every other door as a browser application would; nothing of Node may be in it. */
async function exportsInBrowser() {
  const problems = []
  for (const [subpath, path] of doors.filter(([name]) => !NODE_DOORS.includes(name))) {
    const forbidNode = {
      name: 'forbid-node',
      resolveId(specifier, importer) {
        if (specifier.startsWith('node:') || builtinModules.includes(specifier))
          throw new Error(`'${specifier}' is imported by ${importer}`)
        return /^onnxruntime-/.test(specifier) ? { id: specifier, external: true } : null
      },
    }
    try {
      const bundle = await rolldown({
        input: join(ROOT, path),
        platform: 'browser',
        logLevel: 'silent',
        plugins: [forbidNode],
      })
      const { output } = await bundle.generate({ format: 'esm' })
      await bundle.close()
      for (const chunk of output)
        for (const specifier of chunk.type === 'chunk' ? [...chunk.imports, ...chunk.dynamicImports] : [])
          if (!/^onnxruntime-web/.test(specifier) && !output.some((other) => other.fileName === specifier))
            problems.push(`${subpath}: '${specifier}' was left outside the bundle`)
    } catch (error) {
      problems.push(`${subpath}: ${error.message.split('\n').slice(0, 4).join(' ')}`)
    }
  }
  return problems
}

/** Public declarations have to be readable by consumers: no types of packages that they may not have. */
function declarations() {
  const problems = []
  const optional =
    /^\s*(?:import|export)\b.*from ['"](onnxruntime-[\w/-]+|sharp)['"]|import\(['"](onnxruntime-[\w/-]+|sharp)['"]\)/m
  for (const entry of readdirSync(join(ROOT, 'dist'), { recursive: true }))
    if (entry.endsWith('.d.ts')) {
      const match = optional.exec(readFileSync(join(ROOT, 'dist', entry), 'utf8'))
      if (match) problems.push(`dist/${entry}: needs the types of '${match[1] ?? match[2]}'`)
    }
  return problems
}

function packageContents() {
  const npm = process.env.npm_execpath
  const args = ['pack', '--dry-run', '--json', '--ignore-scripts', '--loglevel=error']
  const listing = npm?.endsWith('.js')
    ? execFileSync(process.execPath, [npm, ...args], { cwd: ROOT, encoding: 'utf8' })
    : execFileSync('npm', args, { cwd: ROOT, encoding: 'utf8' })
  const [{ files, size }] = JSON.parse(listing)
  const paths = files.map(({ path }) => path)
  const problems = paths
    .filter((path) => /\.test\.|(^|\/)\.|\.tsbuildinfo$|^(src|test|bench|examples)\//.test(path))
    .map((path) => `${path}: does not belong into the package`)
  for (const needed of ['LICENSE', 'NOTICE', 'README.md', 'CHANGELOG.md', ...doors.map(([, path]) => path.slice(2))])
    if (!paths.includes(needed)) problems.push(`${needed}: is missing from the package`)
  const limit = 2_000_000
  if (size > limit) problems.push(`the package has ${size} bytes; at most ${limit}`)
  return problems
}

/** Tracked text may not name a machine's own folders. */
function portability() {
  const problems = []
  const machinePath = /(?<![\w.~-])\/(?:home|Users|root|work)\/[\w.-]+/
  for (const path of tracked()) {
    if (/\.(onnx|bin|png|jpe?g|npz|wasm|pb|gz)$/.test(path)) continue
    const text = readFileSync(join(ROOT, path), 'utf8')
    const match = machinePath.exec(text)
    if (match) problems.push(`${path}: names the path ${match[0]} of one machine`)
  }
  return problems
}

/** The lock file has to serve every platform and every registry. */
function lockFile() {
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'))
  const problems = []
  for (const [path, entry] of Object.entries(packages)) {
    if (entry.resolved) problems.push(`${path}: names a download address; set npm's omit-lockfile-registry-resolved`)
    for (const name of Object.keys(entry.optionalDependencies ?? {}))
      if (!Object.keys(packages).some((other) => other.endsWith(`node_modules/${name}`)))
        problems.push(`${path}: its package '${name}' for another platform is missing, so that npm ci refuses the file`)
  }
  return problems
}

/** The compiled kernels that are checked in are those of wasm/. */
function wasm() {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/build-wasm.mjs', '--check'], {
    cwd: ROOT,
    encoding: 'utf8',
  })
  return status === 0 ? [] : [`${stdout}${stderr}`.trim()]
}

function version() {
  const source = readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8')
  return source.includes(`## ${manifest.version}`) ? [] : [`CHANGELOG.md: has no entry for version ${manifest.version}`]
}

/** Pages whose cells run: their outputs are those of the code as it is. */
async function notebooks() {
  const problems = []
  for (const page of ['docs/first-course.md', 'docs/training.md']) {
    try {
      if ((await runNotebook(join(ROOT, page))) !== readFileSync(join(ROOT, page), 'utf8'))
        problems.push(
          `${page}: its outputs are not what its code prints; run \`node scripts/notebook.mjs ${page} --write\``,
        )
    } catch (error) {
      problems.push(error.message)
    }
  }
  return problems
}

const checks = [
  ['types', types],
  ['layers', () => checkLayers(join(ROOT, 'src')).problems],
  ['lint', lint],
  ['sizes', sizes],
  ['exports resolve in Node', exportsInNode],
  ['exports bundle for the browser', exportsInBrowser],
  ['declarations', declarations],
  ['docs of public exports', () => checkDocs(doors.map(([, path]) => sourceOf(path)))],
  ['reference', () => makeReference()],
  ['notebooks', notebooks],
  ['package contents', packageContents],
  ['portability', portability],
  ['lock file', lockFile],
  ['compiled kernels', wasm],
  ['changelog', version],
]
let failed = 0
for (const [name, run] of checks) {
  const started = performance.now()
  const problems = await run()
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(`${problems.length === 0 ? 'ok  ' : 'FAIL'} ${name} (${seconds} s)`)
  for (const problem of problems) console.log(`     ${problem.replaceAll('\n', '\n     ')}`)
  if (problems.length > 0) failed++
}
console.log(failed === 0 ? `All ${checks.length} checks hold.` : `${failed} of ${checks.length} checks do not hold.`)
process.exit(failed === 0 ? 0 : 1)
