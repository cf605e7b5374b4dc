/** Seeded mutations of good files: every reader gives data or one `WhittleError`, never anything else. */
import { readFileSync } from 'node:fs'
import { gzipSync } from 'fflate'
import { describe, expect, it } from 'vitest'
import { createRandom, WhittleError } from '../core/index.ts'
import { memorySource } from './byte-source.ts'
import type { Dataset } from './dataset.ts'
import { mnistDataset } from './mnist.ts'
import { npzDataset } from './npz.ts'

const { files } = JSON.parse(
  readFileSync(new URL('../../test/fixtures/numpy-files.json', import.meta.url), 'utf8'),
) as { files: Record<string, { base64: string }> }
const stored = new Uint8Array(Buffer.from(files.savez!.base64, 'base64'))
const packed = new Uint8Array(Buffer.from(files.savez_compressed!.base64, 'base64'))
const images = Uint8Array.of(0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8)
const labels = memorySource('labels', Uint8Array.of(0, 0, 8, 1, 0, 0, 0, 2, 1, 2))

const READERS: readonly (readonly [string, Uint8Array, (bytes: Uint8Array) => Promise<Dataset>])[] = [
  ['npz, stored', stored, (bytes) => npzDataset(memorySource('a.npz', bytes))],
  ['npz, deflated', packed, (bytes) => npzDataset(memorySource('a.npz', bytes))],
  ['idx', images, (bytes) => mnistDataset(memorySource('images', bytes), labels)],
  ['idx, gzipped', gzipSync(images), (bytes) => mnistDataset(memorySource('images', bytes), labels)],
]

/** Changes one to four bytes, or cuts the end off, or repeats a part. */
function mutate(good: Uint8Array, seed: number): Uint8Array {
  const random = createRandom(seed)
  const bytes = good.slice()
  const kind = random.integer(6)
  if (kind === 0) return bytes.subarray(0, random.integer(bytes.length))
  if (kind === 1) return Uint8Array.from([...bytes, ...bytes.subarray(random.integer(bytes.length))])
  for (let i = 0; i <= random.integer(4); i++)
    bytes[random.integer(bytes.length)] = [0, 255, 128, 1][random.integer(4)]!
  return bytes
}

describe('readers of data files', () => {
  it.each(READERS)('survive 500 mutations: %s', async (_, good, open) => {
    let refused = 0
    for (let seed = 0; seed < 500; seed++) {
      try {
        for await (const batch of (await open(mutate(good, seed))).batches()) expect(batch.size).toBeGreaterThan(0)
      } catch (error) {
        expect(error, `seed ${seed}`).toBeInstanceOf(WhittleError)
        refused++
      }
    }
    expect(refused).toBeGreaterThan(100)
  })
})
