import { describe, expect, it } from 'vitest'
import { splitMatrix, splitTaps, swapLeading } from './kernel.ts'

const counting = (length: number): Float32Array => Float32Array.from({ length }, (_, i) => i)

describe('Copies between layouts', () => {
  it.each([
    [70, 45, 3],
    [33, 64, 1],
    [1, 5, 2],
  ])('swaps the leading axes of [%i, %i, %i]', (a, b, c) => {
    const data = counting(a * b * c)
    const swapped = swapLeading(data, a, b, c)
    for (let i = 0; i < a; i++)
      for (let j = 0; j < b; j++)
        for (let t = 0; t < c; t++) expect(swapped[(j * a + i) * c + t]).toBe(data[(i * b + j) * c + t])
  })

  it.each([[[true, false]], [[false, true]]])(
    'puts inputs and carried taps %j in rows, the rest in columns',
    (carries) => {
      const [outputs, inputs, height, width] = [5, 70, 2, 3]
      const data = counting(outputs * inputs * height * width)
      const split = splitTaps([height, width], carries)
      const { rows, cols, data: matrix } = splitMatrix({ data, outputs, inputs, taps: height * width }, split)
      expect([rows, cols]).toEqual([inputs * split.carriedCount, outputs * split.restCount])
      for (let o = 0; o < outputs; o++)
        for (let i = 0; i < inputs; i++)
          for (let y = 0; y < height; y++)
            for (let x = 0; x < width; x++) {
              const [carried, rest] = carries[0] ? [y, x] : [x, y]
              const at = (i * split.carriedCount + carried) * cols + o * split.restCount + rest
              expect(matrix[at]).toBe(data[((o * inputs + i) * height + y) * width + x])
            }
    },
  )
})
