import { describe, expect, test } from 'vitest'
import {
  cpToTensor,
  formatTensor,
  randomCp,
  randomTensor,
  randomTt,
  randomTucker,
  tensor,
  toNested,
  ttToTensor,
  tuckerToTensor,
  unfold,
} from './index.ts'

describe('nested lists', () => {
  test('become a tensor, outermost axis first, and come back', () => {
    const lists = [
      [
        [1, 2],
        [3, 4],
        [5, 6],
      ],
      [
        [7, 8],
        [9, 10],
        [11, 12],
      ],
    ]
    const x = tensor(lists)
    expect([x.dtype, x.shape]).toEqual(['float64', [2, 3, 2]])
    expect([...(x.data as Float64Array)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    expect(toNested(x)).toEqual(lists)
    expect(toNested(unfold(x, 2))).toEqual([
      [1, 3, 5, 7, 9, 11],
      [2, 4, 6, 8, 10, 12],
    ])
  })

  test('of a number, of nothing, of a given type', () => {
    expect(tensor(3).shape).toEqual([])
    expect(toNested(tensor(3))).toBe(3)
    expect(tensor([]).shape).toEqual([0])
    expect(tensor([[], []]).shape).toEqual([2, 0])
    expect(toNested(tensor([0.1], 'float32'))).toEqual([Math.fround(0.1)])
  })

  test('of unequal lengths are refused', () => {
    expect(() => tensor([[1, 2], [3]])).toThrow(/depth 1 must be alike; one has 2 elements, another 1/)
    expect(() => tensor([[1, 2], 3])).toThrow(/another is a number/)
    expect(() => tensor([1, [2]])).toThrow(/depth 1 must be alike; one has no elements/)
  })
})

describe('formatTensor', () => {
  test('aligns columns, separates matrices and rounds', () => {
    expect(
      formatTensor(
        tensor([
          [1, 2.5],
          [-3, 1000],
        ]),
      ),
    ).toBe('float64 [2, 2]\n[[   1  2.5]\n [  -3 1000]]')
    expect(
      formatTensor(
        tensor([
          [[1], [2]],
          [[3], [4]],
        ]),
      ),
    ).toBe('float64 [2, 2, 1]\n[[[1]\n  [2]]\n\n [[3]\n  [4]]]')
    expect(formatTensor(tensor(Math.PI))).toBe('float64 []\n3.142')
    expect(formatTensor(tensor([-0]))).toBe('float64 [1]\n[0]')
  })

  test('shows the ends of long axes', () => {
    const long = tensor(Array.from({ length: 20 }, (_, i) => i))
    expect(formatTensor(long)).toBe('float64 [20]\n[ 0  1  2 … 17 18 19]')
  })
})

describe('random tensors', () => {
  test('are the same for the same seed and have the asked shapes', () => {
    expect(toNested(randomTensor([2, 3], { seed: 5 }))).toEqual(toNested(randomTensor([2, 3], { seed: 5 })))
    expect(toNested(randomTensor([2, 3], { seed: 5 }))).not.toEqual(toNested(randomTensor([2, 3], { seed: 6 })))
    expect(cpToTensor(randomCp([3, 4, 5], 2)).shape).toEqual([3, 4, 5])
    expect(tuckerToTensor(randomTucker([3, 4, 5], [2, 2, 2])).shape).toEqual([3, 4, 5])
    expect(ttToTensor(randomTt([3, 4, 5], [1, 2, 2, 1], { dtype: 'float32' })).dtype).toBe('float32')
  })

  test('have the moments of their distribution', () => {
    const normal = randomTensor([20_000], { seed: 1 }).data as Float64Array
    const mean = normal.reduce((sum, x) => sum + x, 0) / normal.length
    const variance = normal.reduce((sum, x) => sum + x * x, 0) / normal.length
    expect(Math.abs(mean)).toBeLessThan(0.03)
    expect(Math.abs(variance - 1)).toBeLessThan(0.05)
    const uniform = randomTensor([1000], { seed: 1, distribution: 'uniform' }).data as Float64Array
    expect(Math.min(...uniform)).toBeGreaterThanOrEqual(0)
    expect(Math.max(...uniform)).toBeLessThan(1)
  })
})
