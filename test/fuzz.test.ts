import { describe, it } from 'vitest'
import { fuzzCodec } from './support/fuzz-codec.ts'

describe('500 mutated models', () => {
  it('never crash, hang or take more memory than they justify', () => {
    fuzzCodec(20_260_801, 500)
  })
})
