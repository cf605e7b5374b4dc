import { describe, expect, it } from 'vitest'
import { createRandom } from '../../../core/index.ts'
import { Extremes, KEPT_EXTREMES } from './extremes.ts'
import { Histogram, OCTAVE } from './histogram.ts'
import { HALF } from './histogram-kernel.ts'

function normals(count: number, seed = 0, scale = 1): Float32Array {
  const { normal } = createRandom(seed)
  return Float32Array.from({ length: count }, () => normal() * scale)
}

/** Counts a side number by number, from the definition of the bins alone. */
function countedPlainly(data: Float32Array, reach: number, size: number, negative: boolean): number[] {
  const counts = new Array<number>(size).fill(0)
  for (const x of data) {
    if (x === 0 || x < 0 !== negative) continue
    const m = Math.abs(x)
    let bin = Math.floor((m / reach) * HALF)
    if (m >= reach) {
      let edge = reach
      let octave = 0
      while (m >= 2 * edge) {
        edge *= 2
        octave++
      }
      bin = HALF + octave * OCTAVE + Math.floor((m / edge - 1) * OCTAVE)
    }
    counts[bin]!++
  }
  return counts
}

function expectCounted(histogram: Histogram, data: Float32Array): void {
  for (const negative of [false, true]) {
    const side = histogram.side(negative)
    expect([...side]).toEqual(countedPlainly(data, histogram.reach, side.length, negative))
  }
}

describe('Histogram', () => {
  it.each([
    ['few numbers', normals(700)],
    ['numbers of both signs', normals(70_003)],
    ['small numbers', normals(5000, 1, 1e-30)],
    ['an outlier', Float32Array.of(...normals(5000, 2), 1e9)],
    ['what a Relu leaves', normals(5001, 3).map((x) => Math.max(x, 0))],
    ['multiples of a bin', Float32Array.from({ length: 4001 }, (_, i) => (i - 2000) / 1024)],
    ['zeros of both signs', Float32Array.from({ length: 3000 }, (_, i) => [0, -0, 1, -1, 2 ** -40][i % 5]!)],
    ['the smallest and largest numbers', Float32Array.of(1e-45, -1e-45, 3.4028234663852886e38, -3.4e38, 1)],
  ])('counts %s as the definition of its bins says', (_, data) => {
    const histogram = new Histogram()
    histogram.add(data)
    expect(histogram.count).toBe(data.length)
    expect(histogram.zeros).toBe(data.filter((x) => x === 0).length)
    expectCounted(histogram, data)
  })

  it('holds the same counts after growing as a histogram that was as wide from the start', () => {
    const parts = [normals(3000, 4, 0.01), normals(2000, 5, 1), normals(9000, 6, 300), normals(500, 7, 1e-3)]
    const grown = new Histogram()
    for (const part of parts) grown.add(part)
    expect(grown.reach).toBeGreaterThan(256)
    expectCounted(grown, Float32Array.from(parts.flatMap((part) => [...part])))
  })

  it('tells least, greatest and zeros, and that a number is NaN', () => {
    for (const count of [7, 5003]) {
      const data = normals(count, 18)
      data[count - 2] = 0
      data[1] = -9
      data[count - 1] = 11
      expect(new Histogram().add(data)).toEqual({ min: -9, max: 11, zeros: 1 })
      for (const at of [0, 2, count - 1]) {
        const broken = data.slice()
        broken[at] = Number.NaN
        expect(new Histogram().add(broken).min).toBeNaN()
        broken[at] = Number.NEGATIVE_INFINITY
        expect(new Histogram().add(broken).min).toBe(Number.NEGATIVE_INFINITY)
      }
    }
  })

  it('keeps the resolution of the many when one number is a million times as large', () => {
    const data = Float32Array.of(...normals(100_000, 8), 1e6)
    const histogram = new Histogram()
    histogram.add(data)
    expect(histogram.reach).toBeLessThanOrEqual(4)
  })

  it('merges to what all numbers at once give, whichever is wider', () => {
    const small = normals(4000, 9, 0.1)
    const large = normals(4000, 10, 50)
    for (const [first, second] of [
      [small, large],
      [large, small],
    ] as const) {
      const a = new Histogram()
      const b = new Histogram()
      a.add(first)
      b.add(second)
      const before = JSON.stringify(b.toJson())
      a.merge(b)
      expectCounted(a, Float32Array.of(...first, ...second))
      expect(JSON.stringify(b.toJson())).toBe(before)
    }
    const empty = new Histogram()
    empty.add(new Float32Array(5))
    empty.merge(new Histogram())
    expect([empty.count, empty.zeros, empty.reach]).toEqual([5, 5, 0])
  })

  it('survives JSON and goes on', () => {
    const data = normals(10_000, 11)
    const whole = new Histogram()
    whole.add(data)
    whole.add(normals(10_000, 12, 30))
    const half = new Histogram()
    half.add(data)
    const read = Histogram.fromJson(JSON.parse(JSON.stringify(half.toJson())))
    read.add(normals(10_000, 12, 30))
    expect(read.toJson()).toEqual(whole.toJson())
  })

  it('refuses JSON whose counts are outside its bins or no counts', () => {
    const json = { exponent: 1, zeros: 0, core: { from: 0, counts: [1] }, tail: [] }
    const read = (change: object): Histogram => Histogram.fromJson({ ...json, ...change })
    expect(read({}).count).toBe(1)
    expect(() => read({ exponent: 1e9 })).toThrow(
      'Histogram: its exponent must be a whole number of -100 to 128; got 1000000000.',
    )
    expect(() => read({ core: { from: 8191, counts: [1, 2] } })).toThrow(
      'Histogram: 2 counts from bin 8191 on must lie within its 8192 bins.',
    )
    expect(() => read({ core: { from: 0, counts: [0.5] } })).toThrow(
      'Histogram: counts must be whole numbers of at least 0; got 0.5.',
    )
    const octave = { negative: false, exponent: 0, run: { from: 0, counts: [] } }
    expect(() => read({ tail: [octave] })).toThrow('whole numbers of 1 to 127; got 0.')
    expect(() =>
      read({
        tail: [
          { ...octave, exponent: 5 },
          { ...octave, exponent: 5 },
        ],
      }),
    ).toThrow('must be different')
  })
})

describe('Extremes', () => {
  it('is filled by a histogram on its way', () => {
    const extremes = new Extremes()
    const alone = new Extremes()
    const histogram = new Histogram()
    for (const [seed, count] of [
      [20, 200_003],
      [21, 3],
      [22, 70_001],
    ] as const) {
      const data = normals(count, seed)
      histogram.add(data, extremes)
      alone.add(data)
    }
    expect(extremes.toJson()).toEqual(alone.toJson())
  })

  it('holds the largest and smallest numbers of all batches, equal ones as often as they came', () => {
    const batches = [normals(3000, 13), normals(100_000, 14), normals(50, 15, 10), new Float32Array(9000).fill(2.5)]
    const extremes = new Extremes()
    for (const batch of batches) extremes.add(batch)
    const sorted = Float32Array.from(batches.flatMap((batch) => [...batch])).sort()
    expect([...extremes.largest()]).toEqual([...sorted.slice(-KEPT_EXTREMES).reverse()])
    expect([...extremes.smallest()]).toEqual([...sorted.slice(0, KEPT_EXTREMES)])
  })

  it('merges and survives JSON', () => {
    const a = new Extremes()
    const b = new Extremes()
    const all = new Extremes()
    a.add(normals(9000, 16))
    b.add(normals(9000, 17, 3))
    all.add(normals(9000, 16))
    all.add(normals(9000, 17, 3))
    a.merge(Extremes.fromJson(JSON.parse(JSON.stringify(b.toJson()))))
    expect(a.toJson()).toEqual(all.toJson())
  })

  it('refuses JSON that is not in order', () => {
    expect(() => Extremes.fromJson({ largest: [1, 2], smallest: [] })).toThrow('from the end inward')
    expect(() => Extremes.fromJson({ largest: [], smallest: [0, Number.NaN] })).toThrow('finite numbers')
  })
})
