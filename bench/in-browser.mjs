// Operations or one decomposition of a tensor in headless Chromium (CHROMIUM, or where systems put it), on a page that
// may use threads; prints one line of JSON.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import { rolldown } from 'rolldown'
import { findBrowser } from './browser-path.mjs'
import { ROOT } from './environment.mjs'

const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync']
const PAGE = `<!doctype html><meta charset="utf-8"><script type="module">
import * as ort from '/ort/ort.wasm.min.mjs'
import '/entry.js'
globalThis.run = (job) => measure(ort, job)
</script>`

const job = JSON.parse(process.argv[2])
const bundle = await rolldown({
  input: join(ROOT, 'bench', 'browser-entry.mjs'),
  platform: 'browser',
  logLevel: 'silent',
})
const { output } = await bundle.generate({ format: 'esm' })
await bundle.close()

function contentOf(url) {
  if (url === '/') return ['text/html', PAGE]
  if (url === '/entry.js') return ['text/javascript', output[0].code]
  if (url === '/data.npy') return ['application/octet-stream', readFileSync(job.data)]
  const name = /^\/ort\/([\w.-]+\.(mjs|wasm))$/.exec(url)
  if (!name) return undefined
  const type = name[2] === 'wasm' ? 'application/wasm' : 'text/javascript'
  return [type, readFileSync(join(ROOT, 'node_modules', 'onnxruntime-web', 'dist', name[1]))]
}

const server = createServer((request, response) => {
  const found = contentOf(request.url)
  response.writeHead(found ? 200 : 404, {
    'Content-Type': found?.[0] ?? 'text/plain',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Embedder-Policy': 'require-corp',
  })
  response.end(found?.[1])
})
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
const instance = await chromium.launch({ executablePath: findBrowser(), args: FLAGS })
let report
try {
  const page = await instance.newPage()
  await page.goto(`http://127.0.0.1:${server.address().port}/`)
  await page.waitForFunction('globalThis.run !== undefined')
  report = await page.evaluate(`run(${JSON.stringify(job)})`)
} finally {
  await instance.close()
  server.close()
}
process.stdout.write(`${JSON.stringify({ peakMB: 0, ...report })}\n`, () => process.exit(0))
