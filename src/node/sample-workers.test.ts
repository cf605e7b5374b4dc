import { describe, expect, it } from 'vitest'
import { tensorDataset } from '../data/index.ts'
import { Tensor } from '../tensor/index.ts'
import { shareSamples } from './sample-workers.ts'

// Threads themselves are tested from dist/, in test/finetune.test.ts: this Node runs no TypeScript.
describe('shareSamples', () => {
  const data = (values: readonly number[]) =>
    tensorDataset(
      [Tensor.of(Float32Array.from(values), [values.length / 2, 2])],
      Int32Array.from(values.slice(0, values.length / 2), Math.abs),
    )

  it('keeps whole numbers 0 … 255 as bytes, others as they are', async () => {
    const bytes = (await shareSamples(data([0, 1, 2, 255]), 1000))!
    expect([bytes.dtype, ...new Uint8Array(bytes.samples)]).toEqual(['uint8', 0, 1, 2, 255])
    expect([...new Int32Array(bytes.labels!)]).toEqual([0, 1])
    for (const odd of [0.5, 256, -1]) {
      const numbers = (await shareSamples(data([0, 1, 2, odd]), 1000))!
      expect([numbers.dtype, ...new Float32Array(numbers.samples)]).toEqual(['float32', 0, 1, 2, odd])
    }
  })

  it('leaves data that are too large or have several inputs to be read while training', async () => {
    expect(await shareSamples(data([0, 1, 2, 3]), 3)).toBeUndefined()
    expect(await shareSamples(data([0, 1, 2, 0.5]), 15)).toBeUndefined()
    const two = [1, 2].map(() => Tensor.of(new Float32Array(4), [2, 2]))
    expect(await shareSamples(tensorDataset(two), 1000)).toBeUndefined()
  })
})
