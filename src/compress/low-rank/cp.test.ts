import { describe, expect, test } from 'vitest'
import { createRandom } from '../../core/index.ts'
import { createPlainMatrixEngine } from '../../decompose/index.ts'
import { GraphBuilder } from '../../graph/index.ts'
import { cpToTensor, sizeOf, Tensor } from '../../tensor/index.ts'
import { findSites, type Site } from '../sites.ts'
import { exactFactors, factorCp } from './cp.ts'
import { cpCurve } from './cp-curve.ts'
import { exactCpRank } from './cp-forms.ts'
import { variantsOf } from './forms.ts'
import { groupKernels } from './kernel.ts'
import { SiteSpectra, tails } from './spectra.ts'
import type { FormVariant } from './stage.ts'

const engine = createPlainMatrixEngine()

function normal(seed: number, length: number): Float32Array {
  const random = createRandom(seed)
  return Float32Array.from({ length }, () => random.normal())
}

/** A sum of rank-one terms with some noise, `[out, in, kh, kw]`. */
function kernelOfRank(rank: number, noise: number): Float32Array {
  const shape = [12, 10, 3, 3]
  const factors = shape.map((extent, mode) => Tensor.of(normal(mode + 1, extent * rank), [extent, rank]))
  const exact = cpToTensor({ factors }).data as Float32Array
  const rest = normal(9, exact.length)
  return exact.map((value, i) => value + noise * rest[i]!)
}

function siteOf(weight: Float32Array): Site {
  const b = new GraphBuilder()
  const x = b.input('x', 'float32', [1, 10, 8, 8])
  b.output(b.op('Conv', [x, b.constant(Tensor.of(weight, [12, 10, 3, 3]), 'w')], {}, 'y'), 'float32')
  return findSites(b.model()).sites[0]!
}

function chain(site: Site, stages: '3' | '4'): FormVariant {
  const variants = variantsOf('cp', site)
  if (typeof variants === 'string') throw new Error(variants)
  return variants.find(({ variant }) => variant === stages)!
}

test.each([[[4, 3, 9]], [[5, 4, 3, 3]], [[2, 7]], [[2, 3, 20]]])('every tensor %j has an exact CP', (shape) => {
  const tensor = Tensor.of(normal(1, sizeOf(shape)), shape)
  const rank = exactCpRank(shape)
  const factors = exactFactors(tensor).map((data, mode) => Tensor.of(data, [shape[mode]!, rank]))
  expect([...(cpToTensor({ factors }).data as Float32Array)]).toEqual([...(tensor.data as Float32Array)])
})

describe.each(['3', '4'] as const)('CP-%s of a kernel of rank 6', (stages) => {
  const site = siteOf(kernelOfRank(6, 0))
  const variant = chain(site, stages)
  const [kernel] = groupKernels(site)

  test('is exact at rank 6, with lengths as the roots of the extents', async () => {
    const { stages: arrays, relativeError } = await factorCp(engine, kernel!, site, variant, { rank: 6 })
    expect(relativeError).toBeLessThan(2e-3)
    const length = (data: ArrayLike<number>, from: number, step: number, count: number): number =>
      Math.sqrt(Array.from({ length: count }, (_, i) => data[from + i * step]! ** 2).reduce((a, b) => a + b))
    for (let r = 0; r < 6; r++) {
      const first = length(arrays.first!, r * 10, 1, 10)
      expect(length(arrays.last!, r, 6, 12) / first).toBeCloseTo(Math.sqrt(12 / 10), 4)
    }
  })

  test('has a curve that falls to almost nothing at rank 6', async () => {
    const curve = await new SiteSpectra(site, engine).curves(variant)
    const squared = tails(curve.rank!)
    expect(squared[0]).toBeCloseTo(1, 10)
    expect(Math.sqrt(squared[1]!)).toBeGreaterThan(0.3)
    expect(Math.sqrt(squared[12]!)).toBeLessThan(0.1)
    expect(squared[variant.fullRanks.rank!]).toBe(0)
  })
})

test('the guard keeps terms from growing and cancelling, for 1 % more error at most', async () => {
  const site = siteOf(kernelOfRank(6, 1))
  const variant = chain(site, '3')
  const [kernel] = groupKernels(site)
  const rank = 16
  const guarded = await factorCp(engine, kernel!, site, variant, { rank })
  const plain = await factorCp(engine, kernel!, site, variant, { rank }, { guard: false })
  // Σ ‖terms‖², from the lengths of their factors.
  const size = ({ stages: { first, core, last } }: typeof plain): number => {
    let sum = 0
    for (let r = 0; r < rank; r++) {
      const [a, b] = [first!.subarray(r * 10, r * 10 + 10), core!.subarray(r * 9, r * 9 + 9)]
      const c = last!.filter((_, i) => i % rank === r)
      sum += (Math.hypot(...a) * Math.hypot(...b) * Math.hypot(...c)) ** 2
    }
    return sum
  }
  expect(guarded.relativeError).toBeLessThan(1.02 * plain.relativeError)
  expect(size(guarded)).toBeLessThan(0.8 * size(plain))
})

describe('the curve of CP', () => {
  const site = siteOf(kernelOfRank(6, 1))
  const variant = chain(site, '4')
  const [kernel] = groupKernels(site)

  test('falls, is the same each time, and is not far from what decompositions reach', async () => {
    const lost = await cpCurve(engine, kernel!, site, variant, { seed: 0 })
    expect(lost.length).toBe(variant.fullRanks.rank!)
    expect(Math.min(...lost)).toBeGreaterThanOrEqual(0)
    expect(await cpCurve(engine, kernel!, site, variant, { seed: 0 })).toEqual(lost)
    const squared = tails([lost])
    for (const rank of [5, 10, 20, 30]) {
      const { relativeError } = await factorCp(engine, kernel!, site, variant, { rank })
      expect(relativeError).toBeLessThan(1.02 * Math.sqrt(squared[rank]!))
      expect(relativeError).toBeGreaterThan(0.6 * Math.sqrt(squared[rank]!))
    }
  })
})
