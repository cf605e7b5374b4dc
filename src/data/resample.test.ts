import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { fromNumbers } from '../tensor/index.ts'
import { applyGeometry, applyGeometryToBatch, extentAfter, fixedExtent } from './geometry.ts'
import { type Filter, resample } from './resample.ts'

interface Golden {
  readonly cases: readonly { filter: Filter; width: number; height: number; data: string }[]
}
const golden = JSON.parse(
  readFileSync(new URL('../../test/fixtures/pillow-resize.json', import.meta.url), 'utf8'),
) as Golden

const picture = {
  width: 9,
  height: 7,
  channels: 3,
  data: Uint8Array.from({ length: 189 }, (_, i) => (i * 37 + ((i * i) % 101)) % 256),
}

describe('resample', () => {
  it.each(golden.cases)('gives the bytes that Pillow gives: $filter to $width×$height', (expected) => {
    const { data } = resample(picture, expected.width, expected.height, expected.filter)
    expect([...data]).toEqual([...Buffer.from(expected.data, 'base64')])
  })

  it('does the same to whole numbers in floats, plane by plane', () => {
    const { filter, width, height, data } = golden.cases.find((entry) => entry.filter === 'bicubic')!
    const planes = Float32Array.from({ length: 189 }, (_, i) => picture.data[(i % 63) * 3 + Math.floor(i / 63)]!)
    const batch = fromNumbers(planes, [1, 3, 7, 9], 'float32')
    const resized = applyGeometryToBatch(batch, { resize: { width, height }, filter })
    const expected = Buffer.from(data, 'base64')
    expect(resized.shape).toEqual([1, 3, height, width])
    const area = width * height
    expect([...resized.data]).toEqual(
      Array.from({ length: 3 * area }, (_, i) => expected[(i % area) * 3 + Math.floor(i / area)]!),
    )
  })

  it('rounds a mean of 1.5 down where coefficients of 22 bits do, as Pillow does', () => {
    const halves = { width: 12, height: 1, channels: 1, data: Uint8Array.of(1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2) }
    expect([...resample(halves, 1, 1, 'box').data]).toEqual([1])
  })

  it('does not round values that are no whole numbers', () => {
    const ramp = { width: 4, height: 1, channels: 1, data: Float32Array.of(0, 0.1, 0.2, 0.3) }
    const { data } = resample(ramp, 2, 1, 'box', false)
    expect(data[0]).toBeCloseTo(0.05, 6)
    expect(data[1]).toBeCloseTo(0.25, 6)
  })
})

describe('applyGeometry', () => {
  const wide = { width: 5, height: 3, channels: 1, data: Uint8Array.from({ length: 15 }, (_, i) => i + 1) }

  it('cuts out the middle, odd remainders to the right and bottom', () => {
    expect([...applyGeometry(wide, { crop: { width: 2, height: 2 } }).data]).toEqual([2, 3, 7, 8])
  })

  it('puts a black border around a picture that is smaller than the crop, odd pixels on the left and top', () => {
    const small = { width: 1, height: 1, channels: 1, data: Uint8Array.of(9) }
    expect([...applyGeometry(small, { crop: { width: 2, height: 2 } }).data]).toEqual([0, 0, 0, 9])
  })

  it('adds padding of a given value on every side', () => {
    const small = { width: 1, height: 1, channels: 1, data: Uint8Array.of(9) }
    expect([...applyGeometry(small, { pad: 1, padValue: 7 }).data]).toEqual([7, 7, 7, 7, 9, 7, 7, 7, 7])
  })

  it('keeps proportions by the shortest edge and cuts the longer one to a whole number', () => {
    const geometry = { resize: { shortestEdge: 4 } }
    expect(extentAfter({ width: 5, height: 3 }, geometry)).toEqual({ width: 6, height: 4 })
    expect(extentAfter({ width: 3, height: 5 }, geometry)).toEqual({ width: 4, height: 6 })
    const { width, height, data } = applyGeometry(wide, geometry)
    expect([width, height, data.length]).toEqual([6, 4, 24])
  })

  it('leaves a picture of the kept size as it is', () => {
    const geometry = { keep: { width: 5, height: 3 }, resize: { shortestEdge: 8 }, crop: { width: 5, height: 3 } }
    expect(applyGeometry(wide, geometry)).toBe(wide)
    expect(fixedExtent(geometry)).toEqual({ width: 5, height: 3 })
  })

  it('knows the size of results only when it is the same for every picture', () => {
    expect(fixedExtent({ resize: { shortestEdge: 8 } })).toBeUndefined()
    expect(fixedExtent({ resize: { width: 8, height: 6 }, pad: 2 })).toEqual({ width: 12, height: 10 })
    expect(fixedExtent({ keep: { width: 1, height: 1 }, crop: { width: 8, height: 6 } })).toBeUndefined()
  })

  it('refuses samples that are no pictures', () => {
    const rows = fromNumbers(new Float32Array(6), [2, 3], 'float32')
    expect(() => applyGeometryToBatch(rows, { pad: 1 })).toThrow(
      'Only pictures [N, C, H, W] can be resized; the samples are [2, 3].',
    )
  })
})
