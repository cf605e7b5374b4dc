import { describe, expect, it } from 'vitest'
import { randomTensor } from '../../../../test/support/tensors.ts'
import { toFloat32 } from '../../../tensor/index.ts'
import { BNB4_VALUES, fromBnb4, toBnb4 } from './bnb4-blocks.ts'
import { fromFourBitBlocks, levelsOf, packRows, toFourBitBlocks } from './four-bit-blocks.ts'

const column = (values: readonly number[]): Float32Array => Float32Array.from(values)

describe('toFourBitBlocks', () => {
  it('stores the number of greatest magnitude as 0 when symmetric', () => {
    // Greatest magnitude −4: scale −4 / −8 = 0.5, so 1.6 / 0.5 + 8 = 11.2 → 11; 3.9 → 15.8 → 15, the last level.
    const { levels, scales } = toFourBitBlocks(column([-4, 1.6, 3.9, ...new Array(13).fill(0)]), 16, 1, {
      block: 16,
      symmetric: true,
    })
    expect([...levels.slice(0, 4)]).toEqual([0, 11, 15, 8])
    expect([...scales]).toEqual([0.5])
  })

  it('turns the scale negative when the greatest magnitude is positive', () => {
    const { levels, scales } = toFourBitBlocks(column([8, -7, ...new Array(14).fill(0)]), 16, 1, {
      block: 16,
      symmetric: true,
    })
    expect(scales[0]).toBe(-1)
    expect([...levels.slice(0, 3)]).toEqual([0, 15, 8])
  })

  it('spreads 15 steps from the least to the greatest number and zero when asymmetric', () => {
    // Range 0 … 30 though the least number is 3: scale 2, zero point 0; 3 / 2 = 1.5, rounded away from zero.
    const matrix = toFourBitBlocks(column([30, 3, ...new Array(14).fill(4)]), 16, 1, { block: 16, symmetric: false })
    expect([matrix.scales[0], matrix.zeroPoints[0]]).toEqual([2, 0])
    expect([...matrix.levels.slice(0, 3)]).toEqual([15, 2, 2])
    // Range −5 … 10: scale 1, zero point 5.
    const shifted = toFourBitBlocks(column([-5, 10, ...new Array(14).fill(0)]), 16, 1, { block: 16, symmetric: false })
    expect([shifted.scales[0], shifted.zeroPoints[0]]).toEqual([1, 5])
    expect([...shifted.levels.slice(0, 3)]).toEqual([0, 15, 5])
  })

  it.each([true, false])('keeps every number within half a step of its block (symmetric: %s)', (symmetric) => {
    const [inputs, outputs, block] = [70, 9, 32]
    const weight = toFloat32(randomTensor([inputs, outputs], 3))
    const matrix = toFourBitBlocks(weight, inputs, outputs, { block, symmetric })
    const restored = fromFourBitBlocks(matrix)
    for (let i = 0; i < inputs; i++)
      for (let o = 0; o < outputs; o++) {
        const scale = Math.abs(matrix.scales[o * 3 + Math.floor(i / block)]!)
        // The side opposite to the greatest magnitude ends a step early when symmetric.
        const slack = symmetric ? 1 : 0.5
        expect(Math.abs(restored[i * outputs + o]! - weight[i * outputs + o]!)).toBeLessThanOrEqual(
          slack * scale * 1.0001,
        )
      }
  })

  it('reads both orders of the weight alike', () => {
    const weight = toFloat32(randomTensor([48, 5], 4))
    const transposed = new Float32Array(240)
    for (let i = 0; i < 48; i++) for (let o = 0; o < 5; o++) transposed[o * 48 + i] = weight[i * 5 + o]!
    const options = { block: 16, symmetric: false }
    const a = toFourBitBlocks(weight, 48, 5, options)
    const b = toFourBitBlocks(transposed, 48, 5, { ...options, outputFirst: true })
    expect(b).toEqual(a)
    expect(levelsOf(a, true)).toEqual(a.levels)
    expect([...fromFourBitBlocks(b, true)]).toEqual(
      [...transposed].map((_, i) => fromFourBitBlocks(a)[(i % 48) * 5 + Math.floor(i / 48)]),
    )
  })

  it('packs two integers per byte, the even one low, and fills the last half byte of odd rows', () => {
    expect([...packRows(Uint8Array.of(1, 2, 3, 4, 5, 6), 3, 8)]).toEqual([0x21, 0x83, 0x54, 0x86])
  })

  it('refuses blocks that are no power of two, and weights that are not finite', () => {
    const weight = new Float32Array(32)
    expect(() => toFourBitBlocks(weight, 32, 1, { block: 24, symmetric: true })).toThrow(
      'Option block: must be a power of two from 16 to 65536; got 24.',
    )
    expect(() => toFourBitBlocks(weight.fill(Number.NaN), 32, 1, { block: 32, symmetric: true })).toThrow(
      'must be finite',
    )
  })
})

describe('toBnb4', () => {
  it.each(['nf4', 'fp4'] as const)('gives each number the nearest of the codes of %s', (type) => {
    const [inputs, outputs] = [50, 7]
    const weight = toFloat32(randomTensor([inputs, outputs], 5))
    const matrix = toBnb4(weight, inputs, outputs, { block: 64, type })
    const restored = fromBnb4(matrix)
    for (let i = 0; i < weight.length; i++) {
      const position = (i % outputs) * inputs + Math.floor(i / outputs)
      const most = matrix.absmax[Math.floor(position / 64)]!
      const errors = Array.from(BNB4_VALUES[type], (value) => Math.abs(value * most - weight[i]!))
      expect(Math.abs(restored[i]! - weight[i]!)).toBeLessThanOrEqual(Math.min(...errors) + 1e-6 * most)
    }
  })

  it('keeps zeros, also in blocks of nothing else', () => {
    const restored = fromBnb4(toBnb4(new Float32Array(64), 64, 1, { block: 32, type: 'nf4' }))
    expect(restored.every((value) => value === 0)).toBe(true)
  })
})
