import { expect, test } from 'vitest'
import { randomTensor, randomTensor64 } from '../../test/support/tensors.ts'
import { moveaxis, Tensor, transposeTensor } from './index.ts'

/** Element by element from the definition. */
function expectPermuted(tensor: Tensor, order: readonly number[], result: Tensor): void {
  const strides = tensor.shape.map((_, mode) => tensor.shape.slice(mode + 1).reduce((a, b) => a * b, 1))
  expect(result.shape).toEqual(order.map((mode) => tensor.shape[mode]))
  const expected: unknown[] = []
  const visit = (at: number, offset: number): void => {
    if (at === order.length) expected.push(tensor.data[offset])
    else for (let i = 0; i < tensor.shape[order[at]!]!; i++) visit(at + 1, offset + i * strides[order[at]!]!)
  }
  visit(0, 0)
  expect([...result.data]).toEqual(expected)
}

function permutations(count: number): number[][] {
  if (count === 0) return [[]]
  return permutations(count - 1).flatMap((rest) =>
    Array.from({ length: count }, (_, at) => rest.toSpliced(at, 0, count - 1)),
  )
}

test('every order of four modes rearranges as the definition says, in both types', () => {
  for (const order of permutations(4))
    for (const x of [randomTensor([3, 2, 1, 5], 1), randomTensor64([2, 35, 2, 33], 2)])
      expectPermuted(x, order, transposeTensor(x, order))
})

test('long runs and tiles that do not divide the extents are copied whole', () => {
  const x = randomTensor([3, 70, 101], 3)
  for (const order of permutations(3)) expectPermuted(x, order, transposeTensor(x, order))
})

test('without an order all modes are reversed; nothing moves where nothing has to', () => {
  const x = randomTensor([4, 3, 2], 1)
  expectPermuted(x, [2, 1, 0], transposeTensor(x))
  expect(transposeTensor(randomTensor([], 1)).shape).toEqual([])
  const flat = x.reshape([1, 24, 1])
  expect(transposeTensor(flat, [1, 2, 0]).bytes).toBe(flat.bytes)
  expect(transposeTensor(randomTensor([3, 0, 2], 1), [2, 1, 0]).shape).toEqual([2, 0, 3])
})

test('moveaxis moves one mode and keeps the order of the others', () => {
  const x = randomTensor64([2, 3, 4, 5], 1)
  expectPermuted(x, [2, 0, 1, 3], moveaxis(x, 2, 0))
  expectPermuted(x, [1, 2, 3, 0], moveaxis(x, 0, 3))
  expect(() => moveaxis(x, 0, 4)).toThrow(
    'moveaxis of [2, 3, 4, 5]: destination must be an integer between 0 and 3; got 4.',
  )
  expect(() => transposeTensor(x, [0, 1, 1, 2])).toThrow(
    'transposeTensor of [2, 3, 4, 5]: order must name each of 4 modes once; got [0, 1, 1, 2].',
  )
})

test('results too large to be written in place go through pieces, none of which is lost', () => {
  const [m, n] = [2101, 2103]
  const numbers = Float64Array.from({ length: m * n }, (_, i) => i)
  for (const values of [Float32Array.from(numbers), numbers]) {
    const { data } = transposeTensor(Tensor.of(values, [m, n]))
    let misplaced = 0
    for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) if (data[j * m + i] !== i * n + j) misplaced++
    expect(misplaced).toBe(0)
  }
})

test('many slices, long or short, wide or narrow, lose nothing on their way through the kernel', () => {
  for (const [slices, m, n] of [
    [3, 513, 600],
    [2, 2000, 9],
    [2, 9, 2000],
    [4, 64, 700],
    [2, 1024, 130],
  ] as const) {
    const values = Float32Array.from({ length: slices * m * n }, (_, i) => i)
    for (const order of [
      [0, 2, 1],
      [2, 0, 1],
    ]) {
      const { data } = transposeTensor(Tensor.of(values, [slices, m, n]), order)
      const [perSlice, perColumn] = order[0] === 0 ? [m * n, m] : [m, slices * m]
      let misplaced = 0
      for (let s = 0; s < slices; s++)
        for (let i = 0; i < m; i++)
          for (let j = 0; j < n; j++) if (data[s * perSlice + j * perColumn + i] !== (s * m + i) * n + j) misplaced++
      expect(misplaced).toBe(0)
    }
  }
})

test('bits of numbers that are none come through', () => {
  const bits = Uint32Array.from([0x7fc00001, 0xffffffff, 0x7f800001, 1, 0x80000000, 0x7ff00000])
  const x = Tensor.of(new Float32Array(bits.buffer), [2, 3])
  const { bytes } = transposeTensor(x)
  const moved = new Uint32Array(bytes.buffer, bytes.byteOffset, 6)
  expect([...moved]).toEqual([0, 3, 1, 4, 2, 5].map((at) => bits[at]))
})
