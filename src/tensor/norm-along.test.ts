import { describe, expect, it } from 'vitest'
import { norm, normAlong, randomTensor, Tensor, unfold } from './index.ts'

describe('normAlong', () => {
  it('is the norm of every fibre', () => {
    const x = randomTensor([3, 4, 5], { seed: 1 })
    for (const mode of [0, 1, 2])
      for (const order of [1, 2, 3, Number.POSITIVE_INFINITY]) {
        const found = normAlong(x, mode, order)
        expect(found.shape).toEqual([3, 4, 5].toSpliced(mode, 1))
        const fibres = unfold(x, mode)
        const [extent, count] = fibres.shape as [number, number]
        for (let j = 0; j < count; j++) {
          const fibre = Float64Array.from({ length: extent }, (_, i) => Number(fibres.data[i * count + j]))
          expect(Number(found.data[j])).toBeCloseTo(norm(Tensor.of(fibre, [extent]), order), 13)
        }
      }
  })

  it('keeps the type, and takes vectors and empty fibres', () => {
    const vector = Tensor.of(Float32Array.of(3, 4), [2])
    expect(normAlong(vector, 0)).toMatchObject({ dtype: 'float32', shape: [] })
    expect([...(normAlong(vector, 0).data as Float32Array)]).toEqual([5])
    expect([...(normAlong(Tensor.of(new Float64Array(0), [2, 0]), 1).data as Float64Array)]).toEqual([0, 0])
  })

  it('wants a mode of the tensor and an order from 1', () => {
    const x = randomTensor([3, 4])
    expect(() => normAlong(x, 2)).toThrow('normAlong of [3, 4]: mode must be an integer between 0 and 1; got 2.')
    expect(() => normAlong(x, 0, 0.5)).toThrow(/order must be 1 or more; got 0.5/)
  })
})
