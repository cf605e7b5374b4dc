/** A headless Chromium with a page that has the library, a build of onnxruntime-web and the bundled files. */
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { rolldown } from 'rolldown'

const FILES: Readonly<Record<string, URL>> = {
  '/model.onnx': new URL('../../examples/models/resnet20-cifar10.onnx', import.meta.url),
  '/data.bin': new URL('../../examples/data/cifar10/data_batch_1.bin', import.meta.url),
}
const RUNTIME = new URL('../../node_modules/onnxruntime-web/dist/', import.meta.url)

/** Where Chromium is; `undefined`, with that printed, where there is none. */
export const browserPath = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/google-chrome'].find(
  (path) => path !== undefined && existsSync(path),
)
if (!browserPath) console.warn('Skipped: no Chromium was found for the browser test (set CHROMIUM to its path).')

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]
/** WebGPU by software, where there is no graphics processor. */
const SOFTWARE_GPU = ['--enable-unsafe-webgpu', '--enable-unsafe-swiftshader', '--use-angle=swiftshader']

/** Builds of onnxruntime-web. */
export type WebBuild = 'wasm' | 'webgpu'

/** A browser that evaluates expressions on pages of its own. */
export interface TestBrowser {
  /** @param expression of the page's globals: what the entry put there, and `ort`. */
  evaluate(build: WebBuild, expression: string): Promise<unknown>
  close(): Promise<void>
}

/** Starts a browser and a server for it. @param entry file name in this folder of what the pages run. */
export async function startBrowser(entry: string): Promise<TestBrowser> {
  const bundle = await rolldown({
    input: fileURLToPath(new URL(entry, import.meta.url)),
    platform: 'browser',
    logLevel: 'silent',
  })
  const { output } = await bundle.generate({ format: 'esm' })
  await bundle.close()
  const server = createServer((request, response) => {
    const found = contentOf(request.url ?? '/', output[0].code)
    response.writeHead(found ? 200 : 404, {
      'Content-Type': found?.type ?? 'text/plain',
      'Cross-Origin-Opener-Policy': 'same-origin',
      'Cross-Origin-Embedder-Policy': 'require-corp',
    })
    response.end(found?.body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const instance = await chromium.launch({ executablePath: browserPath!, args: [...FLAGS, ...SOFTWARE_GPU] })
  return {
    async evaluate(build, expression) {
      const page = await instance.newPage()
      const printed: string[] = []
      page.on('console', (message) => {
        // A page without icon is asked for one.
        if (!message.text().startsWith('Failed to load resource')) printed.push(message.text())
      })
      await page.goto(`${address}/${build}`)
      await page.waitForFunction('globalThis.ready')
      const result = await page.evaluate(expression)
      await page.close()
      if (printed.length > 0) throw new Error(`The page printed: ${printed.join('\n')}`)
      return result
    },
    async close() {
      await instance.close()
      server.close()
    },
  }
}

const pageWith = (build: string): string => `<!doctype html><meta charset="utf-8"><script type="module">
import * as ort from '/ort/ort.${build}.min.mjs'
import '/entry.js'
globalThis.ort = ort
globalThis.ready = true
</script>`

function contentOf(url: string, entry: string): { type: string; body: string | Uint8Array } | undefined {
  const script = 'text/javascript'
  if (url === '/wasm' || url === '/webgpu') return { type: 'text/html', body: pageWith(url.slice(1)) }
  if (url === '/entry.js') return { type: script, body: entry }
  if (FILES[url]) return { type: 'application/octet-stream', body: readFileSync(FILES[url]) }
  const name = /^\/ort\/([\w.-]+\.(mjs|wasm))$/.exec(url)
  const path = name && new URL(name[1]!, RUNTIME)
  if (!path || !existsSync(path)) return undefined
  return { type: name[2] === 'wasm' ? 'application/wasm' : script, body: readFileSync(path) }
}
