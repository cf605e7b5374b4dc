import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const folder = mkdtempSync(join(tmpdir(), 'whittle-memory-'))
const at = (name: string): string => join(folder, name)
const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

function run(...step: string[]): string {
  return execFileSync(process.execPath, [source('support/codec-memory.mjs'), at('codec.mjs'), ...step], {
    encoding: 'utf8',
  })
}

async function digest(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

describe('A model of 524 MB', () => {
  beforeAll(async () => {
    const doors = ['onnx', 'graph', 'tensor'].map((door) => source(`../src/${door}/index.ts`))
    const entry = { name: 'doors', resolveId: (id: string) => (id === 'doors' ? id : null) }
    const load = (id: string) => (id === 'doors' ? doors.map((door) => `export * from '${door}'`).join('\n') : null)
    const bundle = await rolldown({ input: 'doors', plugins: [{ ...entry, load }] })
    await bundle.write({ file: at('codec.mjs') })
    run('make', at('model.onnx'))
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  it.each([
    ['load', []],
    ['save', [at('copy.onnx')]],
  ])('needs at most 1.2 times its size in memory to %s', (mode, rest) => {
    const { fileBytes, peakBytes } = JSON.parse(run(mode, at('model.onnx'), ...rest))
    console.info(`${mode}: ${(peakBytes / fileBytes).toFixed(3)} times the file, Node itself included.`)
    expect(fileBytes).toBeGreaterThan(500e6)
    expect(peakBytes / fileBytes).toBeLessThan(1.2)
  })

  it('is saved byte for byte as it was loaded', async () => {
    expect(await digest(at('copy.onnx'))).toBe(await digest(at('model.onnx')))
  })
})
