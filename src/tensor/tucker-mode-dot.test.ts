import { describe, expect, it } from 'vitest'
import { relativeError } from '../../test/support/tensors.ts'
import { modeDot, randomTensor, randomTucker, tuckerModeDot, tuckerToTensor } from './index.ts'

describe('tuckerModeDot', () => {
  const x = randomTucker([4, 5, 6], [2, 3, 2], { seed: 1 })

  it('is the mode product of the full tensor, by matrices and by vectors', () => {
    for (const mode of [0, 1, 2])
      for (const shape of [[7, 4 + mode], [4 + mode]]) {
        const factor = randomTensor(shape, { seed: mode + 2 })
        const expected = modeDot(tuckerToTensor(x), factor, mode)
        expect(relativeError(expected, tuckerToTensor(tuckerModeDot(x, factor, mode)))).toBeLessThan(1e-14)
        if (shape.length === 2) continue
        const kept = tuckerToTensor(tuckerModeDot(x, factor, mode, { keepMode: true }))
        expect(kept.shape).toEqual([4, 5, 6].with(mode, 1))
        expect(relativeError(expected, kept.reshape(expected.shape))).toBeLessThan(1e-14)
      }
  })

  it('keeps an only mode, with an extent of 1', () => {
    const only = randomTucker([4], [2], { seed: 3 })
    const product = tuckerModeDot(only, randomTensor([4], { seed: 4 }), 0)
    expect(tuckerToTensor(product).shape).toEqual([1])
  })

  it('wants operands that fit', () => {
    expect(() => tuckerModeDot(x, randomTensor([7, 5]), 0)).toThrow(/columns of the matrix must be as many/)
    expect(() => tuckerModeDot(x, randomTensor([4]), 3)).toThrow(/mode must be an integer between 0 and 2; got 3/)
    expect(() => tuckerModeDot(x, randomTensor([4], { dtype: 'float32' }), 0)).toThrow(/one element type/)
  })
})
