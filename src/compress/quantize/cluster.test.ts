import { describe, expect, it } from 'vitest'
import { relativeError, relativeErrorOf } from '../../../test/support/tensors.ts'
import { createRandom } from '../../core/index.ts'
import { Tensor, toFloat64 } from '../../tensor/index.ts'
import { clusterIntegers, clusterWeight, expandCodebook } from './cluster.ts'

/** Heavy-tailed numbers, as weights are. */
function weightOf(size: number, seed: number): Tensor {
  const random = createRandom(seed)
  return Tensor.of(
    Float32Array.from({ length: size }, () => random.normal() * Math.abs(random.normal()) * 0.1),
    [size / 4, 4],
  )
}

describe('clusterWeight', () => {
  it('keeps a weight that has no more numbers than levels', () => {
    const weight = Tensor.of(Float32Array.of(0.5, -1, 0.5, 0, 3, -1), [2, 3])
    const codebook = clusterWeight(weight, 4)
    expect(toFloat64(codebook.levels)).toEqual(Float64Array.of(-1, 0, 0.5, 3))
    expect([...(codebook.indices.data as Uint8Array)]).toEqual([2, 0, 2, 1, 3, 0])
    expect(codebook.relativeError).toBe(0)
    expect(relativeError(weight, expandCodebook(codebook))).toBe(0)
  })

  it('has about half the error of as many evenly spaced levels', () => {
    const weight = weightOf(8192, 1)
    const data = toFloat64(weight)
    const largest = data.reduce((max, x) => Math.max(max, Math.abs(x)), 0)
    const uniform = data.map((x) => Math.round((x / largest) * 7) * (largest / 7))
    const { relativeError: error } = clusterWeight(weight, 15)
    expect(error).toBeLessThan(0.51 * relativeErrorOf(data, uniform))
  })

  it('loses next to nothing where it works on bins', () => {
    // 40,000 distinct numbers go through bins; every fourth of them does not need to.
    const many = weightOf(40_000, 2)
    const few = Tensor.of(
      (many.data as Float32Array).filter((_, i) => i % 4 === 0),
      [10_000],
    )
    const { levels } = clusterWeight(few, 16)
    const fromFew = clusterWeight(many, 16).relativeError
    const nearest = toFloat64(many).map((x) =>
      toFloat64(levels).reduce((best, level) => (Math.abs(level - x) < Math.abs(best - x) ? level : best)),
    )
    expect(fromFew).toBeLessThan(relativeErrorOf(toFloat64(many), nearest))
  })

  it('gives float16 weights levels that float16 can hold', () => {
    const weight = Tensor.of(Uint16Array.of(0x3c00, 0x3c01, 0xc000, 0x0000), [4], 'float16')
    const { levels } = clusterWeight(weight, 3)
    expect(levels.dtype).toBe('float16')
    expect(toFloat64(levels)[0]).toBe(-2)
  })

  it('refuses weights with NaN and impossible numbers of levels', () => {
    expect(() => clusterWeight(Tensor.of(Float32Array.of(Number.NaN), [1]), 16)).toThrow('NaN')
    expect(() => clusterWeight(weightOf(16, 1), 1)).toThrow('from 2 to 256; got 1')
  })
})

describe('clusterIntegers', () => {
  it('leaves at most as many different integers as levels, all of the type', () => {
    const random = createRandom(5)
    const integers = Tensor.of(
      Int8Array.from({ length: 4000 }, () => Math.max(-127, Math.min(127, Math.round(random.normal() * 40)))),
      [40, 100],
    )
    for (const count of [16, 32]) {
      const clustered = clusterIntegers(integers, count)
      expect(clustered.dtype).toBe('int8')
      expect(clustered.shape).toEqual([40, 100])
      expect(new Set(clustered.data as Int8Array).size).toBe(count)
    }
    const [rough, fine] = [16, 32].map((count) => relativeError(integers, clusterIntegers(integers, count)))
    // Uniform quantization of a normal distribution to 5 bits has about −24 dB; these levels are not uniform.
    expect(fine).toBeLessThan(0.06)
    expect(rough).toBeLessThan(0.12)
  })

  it('chooses what trying all pairs of levels chooses', () => {
    const data = [-9, -8, -8, -3, 0, 1, 1, 2, 7, 8]
    const clustered = clusterIntegers(Tensor.of(Int8Array.from(data), [10]), 3).data as Int8Array
    let best = Number.POSITIVE_INFINITY
    for (let a = -10; a <= 10; a++)
      for (let b = a; b <= 10; b++)
        for (let c = b; c <= 10; c++)
          best = Math.min(
            best,
            data.reduce((sum, x) => sum + Math.min((x - a) ** 2, (x - b) ** 2, (x - c) ** 2), 0),
          )
    expect(data.reduce((sum, x, i) => sum + (x - clustered[i]!) ** 2, 0)).toBe(best)
  })
})
