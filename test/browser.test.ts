/** The library over onnxruntime-web: in Node, and in a real browser, against onnxruntime-node. */
import { existsSync, readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import * as native from 'onnxruntime-node'
import * as web from 'onnxruntime-web'
import { chromium } from 'playwright-core'
import { rolldown } from 'rolldown'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createEvaluator, createMatrixEngine } from '../src/engine/index.ts'
import { createWebRuntime, readModel } from '../src/web/index.ts'
import { type Computed, computeOn, type PageReport } from './support/browser-entry.ts'
import { relativeErrorOf } from './support/tensors.ts'

const modelBytes = readFileSync(new URL('../examples/models/resnet20-cifar10.onnx', import.meta.url))
const webFiles = new URL('../node_modules/onnxruntime-web/dist/', import.meta.url)

const browser = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/google-chrome'].find(
  (path) => path !== undefined && existsSync(path),
)
if (!browser) console.warn('Skipped: no Chromium was found for the browser test (set CHROMIUM to its path).')

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

let expected: Computed

beforeAll(async () => {
  const runtime = {
    evaluator: createEvaluator(native, { threads: 2 }),
    matrices: createMatrixEngine(native, { threads: 2 }),
  }
  expected = await computeOn(runtime, await readModel(modelBytes))
})

/** Equal but for rounding: kernels of other processors sum in another order. */
function expectSame(actual: Computed): void {
  expect(relativeErrorOf(expected.outputs, actual.outputs)).toBeLessThan(1e-5)
  expect(relativeErrorOf(expected.eigenvalues, actual.eigenvalues)).toBeLessThan(1e-12)
  // ResNet-20 has 40,551,040.
  expect(actual.macs / 40551040).toBeLessThanOrEqual(0.5)
  expect([actual.macs, actual.bytes]).toEqual([expected.macs, expected.bytes])
  expect(relativeErrorOf(expected.decomposedOutputs, actual.decomposedOutputs)).toBeLessThan(1e-3)
}

describe('onnxruntime-web gives what onnxruntime-node gives', () => {
  it('in Node', async () => {
    expectSame(await computeOn(createWebRuntime(web, { threads: 1 }), await readModel(modelBytes)))
  })

  describe.skipIf(!browser)('in a browser', () => {
    let server: Server

    beforeAll(async () => {
      const bundle = await rolldown({
        input: fileURLToPath(new URL('./support/browser-entry.ts', import.meta.url)),
        platform: 'browser',
        logLevel: 'silent',
      })
      const { output } = await bundle.generate({ format: 'esm' })
      await bundle.close()
      server = createServer((request, response) => {
        const found = contentOf(request.url ?? '/', output[0].code)
        response.writeHead(found ? 200 : 404, {
          'Content-Type': found?.type ?? 'text/plain',
          'Cross-Origin-Opener-Policy': 'same-origin',
          'Cross-Origin-Embedder-Policy': 'require-corp',
        })
        response.end(found?.body)
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    })

    afterAll(() => {
      server?.close()
    })

    it('with two threads on an isolated page', async () => {
      const instance = await chromium.launch({ executablePath: browser!, args: FLAGS })
      try {
        const page = await instance.newPage()
        await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
        const report = (await page.evaluate('run()')) as PageReport
        expect(report.isolated).toBe(true)
        expect(report.error).toMatch(/^Model 'http:.*\/nothing\.onnx': the server answered with status 404\.$/)
        expectSame(report)
      } finally {
        await instance.close()
      }
    })
  })
})

const PAGE = `<!doctype html><meta charset="utf-8"><script type="module">
import * as ort from '/ort/ort.wasm.min.mjs'
import '/entry.js'
globalThis.run = () => report(ort)
globalThis.ready = true
</script>`

function contentOf(url: string, entry: string): { type: string; body: string | Uint8Array } | undefined {
  const script = 'text/javascript'
  if (url === '/') return { type: 'text/html', body: PAGE }
  if (url === '/entry.js') return { type: script, body: entry }
  if (url === '/model.onnx') return { type: 'application/octet-stream', body: modelBytes }
  const name = /^\/ort\/([\w.-]+\.(mjs|wasm))$/.exec(url)
  const path = name && new URL(name[1]!, webFiles)
  if (!path || !existsSync(path)) return undefined
  return { type: name[2] === 'wasm' ? 'application/wasm' : script, body: readFileSync(path) }
}
