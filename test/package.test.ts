import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { beforeAll, describe, expect, it } from 'vitest'
import { encodeModel } from '../src/onnx/index.ts'
import { buildOnce } from './support/command.ts'
import { smallNetwork } from './support/small-network.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
let project = ''

/** npm through the running Node, so that no shell is needed. */
function npmPack(destination: string): string {
  const npm = process.env.npm_execpath
  const args = ['pack', '--json', '--ignore-scripts', '--loglevel=error', '--pack-destination', destination]
  const options = { cwd: ROOT, encoding: 'utf8', shell: npm === undefined && process.platform === 'win32' } as const
  const text = npm?.endsWith('.js')
    ? execFileSync(process.execPath, [npm, ...args], options)
    : execFileSync('npm', args, options)
  return (JSON.parse(text) as { filename: string }[])[0]!.filename
}

/** The packed package in a project of its own, with its dependencies beside it as npm would put them. */
beforeAll(() => {
  buildOnce()
  project = mkdtempSync(join(tmpdir(), 'whittle-package-'))
  const tarball = npmPack(project)
  const modules = join(project, 'node_modules')
  mkdirSync(join(modules, 'whittle-nn'), { recursive: true })
  execFileSync('tar', ['-xzf', tarball, '--strip-components=1', '-C', 'node_modules/whittle-nn'], { cwd: project })
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>
    peerDependencies: Record<string, string>
  }
  for (const name of Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })) {
    mkdirSync(dirname(join(modules, name)), { recursive: true })
    symlinkSync(join(ROOT, 'node_modules', name), join(modules, name), 'junction')
  }
  writeFileSync(join(project, 'package.json'), '{ "name": "consumer", "type": "module" }')
  writeFileSync(join(project, 'model.onnx'), encodeModel(smallNetwork()))
})

/** Module hooks that print every address a module is read from. */
const LOAD_HOOK = `
  import { writeSync } from 'node:fs'
  export async function load(url, context, next) {
    writeSync(2, 'read ' + url + '\\n')
    return next(url, context)
  }
`

function runScript(source: string): string {
  writeFileSync(join(project, 'script.mjs'), source)
  return execFileSync(process.execPath, ['script.mjs'], { cwd: project, encoding: 'utf8' })
}

describe('the packed package', () => {
  it('decomposes a model in a fresh project, from the Node door', () => {
    const output = runScript(`
      import { decompose, loadModel, saveModel } from 'whittle-nn/node'
      const { model, record } = await decompose(await loadModel('model.onnx'), {
        budget: { metric: 'macs', fraction: 0.5 }, align: 4,
      })
      await saveModel(model, 'small.onnx')
      console.log(record.after.macs / record.before.macs)
    `)
    expect(Number(output)).toBeGreaterThan(0.2)
    expect(Number(output)).toBeLessThanOrEqual(0.5)
    const inspected = execFileSync(
      process.execPath,
      [join('node_modules', 'whittle-nn', 'dist', 'cli', 'main.js'), 'inspect', 'small.onnx'],
      { cwd: project, encoding: 'utf8' },
    )
    expect(inspected).toContain('small.onnx: opset')
  })

  it('decomposes with an injected runtime, from the main door', () => {
    const output = runScript(`
      import { readFile } from 'node:fs/promises'
      import * as ort from 'onnxruntime-node'
      import { createEvaluator, createMatrixEngine, decodeModel, decompose, encodeModel } from 'whittle-nn'
      const runtime = { evaluator: createEvaluator(ort), matrices: createMatrixEngine(ort) }
      const original = decodeModel(await readFile('model.onnx'))
      const { model } = await decompose(original, { method: 'tucker', rank: { kind: 'fixed', rank: 8 } }, runtime)
      console.log(encodeModel(model).byteLength < encodeModel(original).byteLength)
    `)
    expect(output.trim()).toBe('true')
  })

  it('has a command that is bundled: it starts from a few files and reads none of the library', () => {
    const main = join('node_modules', 'whittle-nn', 'dist', 'cli', 'main.js')
    writeFileSync(join(project, 'hook.mjs'), LOAD_HOOK)
    const register = `data:text/javascript,${encodeURIComponent(`import { register } from 'node:module'; register('./hook.mjs', ${JSON.stringify(pathToFileURL(join(project, 'script.mjs')))})`)}`
    const { stderr, status } = spawnSync(
      process.execPath,
      ['--import', register, main, 'quantize', 'model.onnx', '--activations', 'none', '-o', 'integers.onnx'],
      { cwd: project, encoding: 'utf8' },
    )
    expect([status, stderr.includes('whittle:')]).toEqual([0, false])
    const read = [...stderr.matchAll(/^read (.*)$/gm)].map(([, url]) => url!).filter((url) => url.includes('/dist/'))
    const own = read.filter((url) => /\/dist\/cli\/[^/]+\.js$/.test(url))
    expect(own.length).toBeGreaterThan(3)
    expect(own.length).toBeLessThan(40)
    expect(read.filter((url) => /\/(whittle-nn|whittle)\/dist\/(?!cli)/.test(url))).toEqual([])
  })

  it('says in one line what to install when ONNX Runtime is missing', () => {
    const link = join(project, 'node_modules', 'onnxruntime-node')
    rmSync(link)
    try {
      const output = runScript(`
        import { decompose, loadModel } from 'whittle-nn/node'
        await decompose(await loadModel('model.onnx')).catch((error) => console.log(error.code, error.message))
      `)
      expect(output.trim()).toBe(
        "ENGINE Package 'onnxruntime-node' is needed to run models and is not installed. Run: npm install onnxruntime-node",
      )
    } finally {
      symlinkSync(join(ROOT, 'node_modules', 'onnxruntime-node'), link, 'junction')
    }
  })

  it.each(['nodenext', 'bundler'])('has types that a consumer can read (%s)', (moduleResolution) => {
    writeFileSync(
      join(project, 'consumer.ts'),
      `import { type Model, parseRankPolicy, WhittleError } from 'whittle-nn'
       import { decompose, loadModel } from 'whittle-nn/node'
       import { Tensor } from 'whittle-nn/tensor'
       const model: Model = await loadModel('model.onnx')
       const { record } = await decompose(model, { rank: parseRankPolicy('energy=0.9') })
       export const found: number | null = record.after.macs
       export const tensor: Tensor = Tensor.int64([1])
       await decompose(model, { rank: 'evbmf' }).catch((error: WhittleError) => error.code)
       // @ts-expect-error methods are not free text
       await decompose(model, { method: 'best' })
      `,
    )
    const compilerOptions = {
      strict: true,
      noEmit: true,
      target: 'es2023',
      lib: ['es2023', 'dom'],
      types: [],
      module: moduleResolution === 'bundler' ? 'esnext' : 'nodenext',
      moduleResolution,
    }
    writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['consumer.ts'] }))
    const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
    const { stdout } = spawnSync(process.execPath, [tsc, '-p', '.'], { cwd: project, encoding: 'utf8' })
    expect(stdout).toBe('')
  })
})
