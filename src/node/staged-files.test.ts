import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { checkWritable, StagedFiles } from './staged-files.ts'

const folder = (): string => mkdtempSync(join(tmpdir(), 'whittle-staged-'))
const bytes = (length: number, seed: number): Uint8Array => {
  const made = new Uint8Array(length).fill(seed)
  for (let i = 0; i < length; i += 1009) made[i] = (i * 31 + seed) % 251
  return made
}

describe('StagedFiles', () => {
  it('shows no file under its name before commit, and all of them after', async () => {
    const dir = folder()
    const files = new StagedFiles()
    const chunks = Array.from({ length: 2500 }, (_, i) => bytes(i % 7, i))
    await files.write(join(dir, 'a.bin'), chunks)
    await files.writeText(join(dir, 'a.json'), '{}')
    expect(readdirSync(dir).filter((name) => !name.endsWith('.tmp'))).toEqual([])
    files.commit()
    expect(readdirSync(dir).sort()).toEqual(['a.bin', 'a.json'])
    expect(readFileSync(join(dir, 'a.bin'))).toEqual(Buffer.concat(chunks))
  })

  it('writes chunks larger than one write call whole', async () => {
    const dir = folder()
    const large = bytes(130 * 2 ** 20 + 3, 1)
    const files = new StagedFiles()
    await files.write(join(dir, 'large.bin'), [bytes(5, 9), large])
    files.commit()
    expect(readFileSync(join(dir, 'large.bin')).equals(Buffer.concat([bytes(5, 9), large]))).toBe(true)
  })

  it('leaves what was there, and no temporary file, when cancelled or when a chunk cannot be made', async () => {
    const dir = folder()
    const path = join(dir, 'model.onnx')
    writeFileSync(path, 'old')
    const controller = new AbortController()
    const stopping = function* (): Iterable<Uint8Array> {
      yield bytes(70 * 2 ** 20, 0)
      controller.abort()
      yield bytes(70 * 2 ** 20, 1)
    }
    const files = new StagedFiles()
    await expect(files.write(path, stopping(), { signal: controller.signal })).rejects.toMatchObject({
      code: 'ABORTED',
    })
    files.discard()
    const broken = function* (): Iterable<Uint8Array> {
      yield bytes(10, 0)
      throw new Error('weights cannot be read')
    }
    await expect(files.write(path, broken())).rejects.toThrow('weights cannot be read')
    files.discard()
    expect(readdirSync(dir)).toEqual(['model.onnx'])
    expect(readFileSync(path, 'utf8')).toBe('old')
  })

  it('replaces the file a link points to and keeps the link', async () => {
    const dir = folder()
    writeFileSync(join(dir, 'real.onnx'), 'old')
    symlinkSync('real.onnx', join(dir, 'link.onnx'))
    const files = new StagedFiles()
    await files.writeText(join(dir, 'link.onnx'), 'new')
    files.commit()
    expect(lstatSync(join(dir, 'link.onnx')).isSymbolicLink()).toBe(true)
    expect(readFileSync(join(dir, 'real.onnx'), 'utf8')).toBe('new')
  })

  it('names the missing folder, and refuses to replace a folder', () => {
    const dir = folder()
    expect(() => checkWritable(join(dir, 'no', 'x.onnx'))).toThrow(
      `Output '${join(dir, 'no', 'x.onnx')}': the folder '${join(dir, 'no')}' does not exist. Create it first.`,
    )
    mkdirSync(join(dir, 'sub'))
    expect(() => checkWritable(join(dir, 'sub'))).toThrow('is there already and not a file')
    expect(existsSync(join(dir, 'no'))).toBe(false)
  })
})
