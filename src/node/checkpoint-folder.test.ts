import { existsSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { checkpointFolder } from './checkpoint-folder.ts'

const fresh = (): string => mkdtempSync(join(tmpdir(), 'whittle-checkpoint-'))
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

describe('checkpointFolder', () => {
  it('makes the folder, and replaces a checkpoint whole', async () => {
    const folder = join(fresh(), 'a', 'b')
    const store = await checkpointFolder(folder)
    expect(await store.read()).toBeUndefined()
    await store.write([bytes('first')])
    await store.write([bytes('sec'), new Uint8Array(0), bytes('ond')])
    expect(new TextDecoder().decode(await store.read())).toBe('second')
    expect(readdirSync(folder)).toEqual(['checkpoint.whittle'])
  })

  it('refuses a place where no folder can be made', async () => {
    if (!existsSync('/proc')) return console.warn('Skipped: this system has no /proc.')
    await expect(checkpointFolder('/proc/checkpoints')).rejects.toThrow(
      /^File '\/proc\/checkpoints' cannot be written: /,
    )
  })

  it('keeps the previous checkpoint when the disk is full', async () => {
    if (!existsSync('/dev/full')) return console.warn('Skipped: this system has no /dev/full.')
    const folder = fresh()
    const store = await checkpointFolder(folder)
    await store.write([bytes('first')])
    symlinkSync('/dev/full', join(folder, 'checkpoint.whittle.tmp'))
    await expect(store.write([bytes('second')])).rejects.toThrow(
      /cannot be written: the disk is full\. Free some space\.$/,
    )
    expect(new TextDecoder().decode(await store.read())).toBe('first')
    expect(readdirSync(folder)).toEqual(['checkpoint.whittle'])
  })

  it('does not take what a killed process left for a checkpoint', async () => {
    const folder = fresh()
    writeFileSync(join(folder, 'checkpoint.whittle.tmp'), 'half a')
    const store = await checkpointFolder(folder)
    expect(await store.read()).toBeUndefined()
    await store.write([bytes('whole')])
    expect(new TextDecoder().decode(await store.read())).toBe('whole')
  })

  it('refuses a file', async () => {
    const path = join(fresh(), 'file')
    writeFileSync(path, '')
    await expect(checkpointFolder(path)).rejects.toThrow(/^File '.*file' cannot be written: /)
  })
})
