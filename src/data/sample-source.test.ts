import { describe, expect, it } from 'vitest'
import { Tensor } from '../tensor/index.ts'
import type { Batch, BatchOptions, Dataset } from './dataset.ts'
import { createDataset } from './sample-source.ts'

/** A source of numbers that notes what is read when. */
function numbers(size: number, log: string[] = [], failAt = -1): Dataset {
  return createDataset({
    name: 'numbers',
    size,
    sampleShapes: [[1]],
    hasLabels: false,
    async read(indices) {
      log.push(`read ${indices[0]}`)
      if (indices.includes(failAt)) throw new Error(`cannot read ${failAt}`)
      return { inputs: [Tensor.of(Int32Array.from(indices), [indices.length, 1])], size: indices.length }
    },
  })
}

const valuesOf = (batch: Batch): number[] => [...(batch.inputs[0]!.data as Int32Array)]

async function values(dataset: Dataset, options?: BatchOptions): Promise<number[][]> {
  const out: number[][] = []
  for await (const batch of dataset.batches(options)) out.push(valuesOf(batch))
  return out
}

describe('createDataset', () => {
  it('serves batches of 64 in order, the last one shorter', async () => {
    expect((await values(numbers(130))).map(({ length }) => length)).toEqual([64, 64, 2])
  })

  it('takes the limit after shuffling', async () => {
    const [limited] = await values(numbers(100), { shuffle: 1, limit: 5 })
    const [whole] = await values(numbers(100), { shuffle: 1, batch: 100 })
    expect(limited).toEqual(whole!.slice(0, 5))
    expect(new Set(whole)).toEqual(new Set(Array.from({ length: 100 }, (_, i) => i)))
  })

  it('reads one batch ahead and no more', async () => {
    const log: string[] = []
    for await (const batch of numbers(10, log).batches({ batch: 2 })) {
      log.push(`use ${valuesOf(batch)[0]}`)
      if (valuesOf(batch)[0] === 4) break
    }
    expect(log).toEqual(['read 0', 'read 2', 'use 0', 'read 4', 'use 2', 'read 6', 'use 4'])
  })

  it('reports a failure when its batch is due, after the good ones', async () => {
    const seen: number[] = []
    const pass = async (): Promise<void> => {
      for await (const batch of numbers(6, [], 4).batches({ batch: 2 })) {
        await new Promise((resolve) => setTimeout(resolve, 5))
        seen.push(...valuesOf(batch))
      }
    }
    await expect(pass()).rejects.toThrow('cannot read 4')
    expect(seen).toEqual([0, 1, 2, 3])
  })

  it('stops when cancelled', async () => {
    const controller = new AbortController()
    const pass = async (): Promise<void> => {
      for await (const _ of numbers(10).batches({ batch: 2, signal: controller.signal })) controller.abort()
    }
    await expect(pass()).rejects.toMatchObject({ code: 'ABORTED' })
  })

  it('refuses empty sources and counts below 1', async () => {
    expect(() => numbers(0)).toThrow("Dataset 'numbers' has no samples.")
    await expect(values(numbers(3), { batch: 0 })).rejects.toThrow(
      "Option 'batch' must be a whole number of at least 1; got 0.",
    )
    await expect(values(numbers(3), { limit: 1.5 })).rejects.toThrow("Option 'limit'")
  })
})
