import { describe, it } from 'vitest'
import { fuzzCodec } from './support/fuzz-codec.ts'

describe('10,000 mutated models', () => {
  it('never crash, hang or take more memory than they justify', () => {
    for (let seed = 1; seed <= 10; seed++) fuzzCodec(seed, 1_000)
  }, 600_000)
})
