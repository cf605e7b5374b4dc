import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { externalDataBeside } from './external-data.ts'

let folder = ''
let outside = ''
const reader = () => externalDataBeside(join(folder, 'model.onnx'))

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'whittle-external-'))
  outside = mkdtempSync(join(tmpdir(), 'whittle-outside-'))
  writeFileSync(join(outside, 'secret'), 'secret')
  writeFileSync(
    join(folder, 'weights.bin'),
    Uint8Array.from({ length: 100 }, (_, i) => i),
  )
  mkdirSync(join(folder, 'parts'))
  writeFileSync(join(folder, 'parts', 'a.bin'), 'abcdef')
  symlinkSync(join(folder, 'weights.bin'), join(folder, 'inside.bin'))
  symlinkSync(join(outside, 'secret'), join(folder, 'leaving.bin'))
  symlinkSync(outside, join(folder, 'door'))
})

describe('externalDataBeside', () => {
  it('reads ranges of files in the folder, below it, and through links that stay inside', () => {
    expect([...reader().read('weights.bin', 10, 3)]).toEqual([10, 11, 12])
    expect([...reader().read('weights.bin', 100, 0)]).toEqual([])
    expect(Buffer.from(reader().read('parts/a.bin', 2, 4)).toString()).toBe('cdef')
    expect([...reader().read('inside.bin', 99, 1)]).toEqual([99])
  })

  it.each([
    ['../secret', "a '..'"],
    ['parts/../../x', "a '..'"],
    ['/etc/passwd', 'it is absolute'],
    ['C:\\x', 'backslash'],
    ['leaving.bin', 'it is a link that leads out of it'],
    ['door/secret', 'it is a link that leads out of it'],
  ])('refuses %s', (location, reason) => expect(() => reader().read(location, 0, 1)).toThrow(reason))

  it('compares offset and length with the file before it allocates', () => {
    expect(() => reader().read('weights.bin', 90, 2 ** 52)).toThrow('the file has 100. It is cut off')
    expect(() => reader().read('weights.bin', 2 ** 52, 1)).toThrow('the file has 100. It is cut off')
  })

  it('does not wait for pipes or read folders, and says what is missing', () => {
    execFileSync('mkfifo', [join(folder, 'pipe')])
    expect(() => reader().read('pipe', 0, 1)).toThrow('must be a regular file')
    expect(() => reader().read('parts', 0, 1)).toThrow('must be a regular file')
    expect(() => reader().read('none.bin', 0, 1)).toThrow('there is no such file or folder')
  })
})
