import { describe, expect, it } from 'vitest'
import { GraphBuilder } from '../graph/index.ts'
import { Tensor } from '../tensor/index.ts'
import { decodeModel, encodeModel, maybeWeightOffset } from './index.ts'

/** A model with a small weight before the large one. */
function sample(elements: number): Uint8Array {
  const b = new GraphBuilder('layer')
  const x = b.input('x', 'float32', [1, 4])
  b.constant(Tensor.of(new Float32Array(10).fill(2), [10]), 'small')
  const w = b.constant(Tensor.of(new Float32Array(elements).fill(3), [4, elements / 4]), 'large')
  b.output(b.op('MatMul', [x, w], {}, 'y'), 'float32')
  return encodeModel(b.model())
}

describe('maybeWeightOffset', () => {
  it('is where the first large weight begins, known from the bytes before it', () => {
    const bytes = sample(20_000)
    const { bytes: weight } = decodeModel(bytes).graph.initializers.get('large')!
    const offset = weight.byteOffset - bytes.byteOffset
    expect(maybeWeightOffset(bytes)).toBe(offset)
    expect(maybeWeightOffset(bytes.subarray(0, offset))).toBe(offset)
    for (let length = 0; length < offset; length++) expect(maybeWeightOffset(bytes.subarray(0, length))).toBeUndefined()
  })

  it('is nothing without a large weight, and in what is no model', () => {
    expect(maybeWeightOffset(sample(400))).toBeUndefined()
    let state = 1
    for (let round = 0; round < 2000; round++) {
      const noise = Uint8Array.from({ length: 64 }, () => {
        state = (Math.imul(state, 1103515245) + 12345) >>> 0
        return state >>> 24
      })
      const found = maybeWeightOffset(noise)
      expect(found === undefined || (found > 0 && found <= noise.length)).toBe(true)
    }
  })
})
