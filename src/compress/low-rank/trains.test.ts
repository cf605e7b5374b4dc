import { describe, expect, test } from 'vitest'
import { randomTensor } from '../../../test/support/small-network.ts'
import { createPlainMatrixEngine } from '../../decompose/index.ts'
import { GraphBuilder, type Model } from '../../graph/index.ts'
import { toFloat64 } from '../../tensor/index.ts'
import { findSites, type Site } from '../sites.ts'
import { chainCost, siteCost } from './chain-cost.ts'
import { variantsOf } from './forms.ts'
import { groupKernels } from './kernel.ts'
import { SiteSpectra } from './spectra.ts'
import type { FormVariant } from './stage.ts'
import { balancedFactors } from './train-forms.ts'
import { factorTrain, pairTensor } from './trains.ts'

const engine = createPlainMatrixEngine()

function linear(inputs: number, outputs: number): Site {
  const b = new GraphBuilder()
  const x = b.input('x', 'float32', [2, inputs])
  b.output(b.op('Gemm', [x, b.constant(randomTensor(1, [outputs, inputs]), 'w')], { transB: 1 }, 'y'), 'float32')
  const model: Model = b.model()
  const shapes = new Map([
    ['x', { shape: [2, inputs] }],
    ['y', { shape: [2, outputs] }],
  ])
  return findSites(model, shapes).sites[0]!
}

function trainsOf(site: Site): FormVariant[] {
  const variants = variantsOf('tt', site)
  if (typeof variants === 'string') throw new Error(variants)
  return variants
}

test.each([
  [12, 2, [3, 4]],
  [784, 2, [28, 28]],
  [606, 3, [2, 3, 101]],
  [64, 3, [4, 4, 4]],
  [7, 2, [1, 7]],
  [10, 3, [1, 2, 5]],
  [50, 3, [2, 5, 5]],
])('%d as %d factors', (number, count, factors) => {
  expect(balancedFactors(number, count)).toEqual(factors)
})

describe('the train of a matrix', () => {
  const site = linear(12, 20)
  const [kernel] = groupKernels(site)

  test('splits inputs falling and outputs rising', () => {
    expect(trainsOf(site).map(({ variant }) => variant)).toEqual(['4x3-4x5', '3x2x2-2x2x5'])
    expect(variantsOf('tt', linear(7, 5))).toBe(
      'A tensor train needs channels that are products; it maps 7 to 5 (method svd).',
    )
  })

  test('lays the weight out with input and output factors side by side', () => {
    const tensor = pairTensor(kernel!, { inputs: [4, 3], outputs: [4, 5] })
    expect(tensor.shape).toEqual([16, 15])
    const weight = kernel!.data
    for (const [n1, n2, m1, m2] of [
      [0, 0, 0, 0],
      [3, 2, 3, 4],
      [1, 2, 3, 0],
    ] as const)
      expect(tensor.data[(n1 * 4 + m1) * 15 + n2 * 5 + m2]).toBe(weight[(m1 * 5 + m2) * 12 + n1 * 3 + n2])
  })

  test('with two cores is a sum of Kronecker products, with the error that its spectrum tells', async () => {
    const [variant] = trainsOf(site)
    const ranks = { r1: 5 }
    const { stages, relativeError } = await factorTrain(engine, kernel!, site, variant!, ranks, {})
    const { first, last } = stages
    const weight = toFloat64(site.weight)
    let lost = 0
    let norm = 0
    for (let o = 0; o < 20; o++)
      for (let i = 0; i < 12; i++) {
        const [m1, m2, n1, n2] = [Math.floor(o / 5), o % 5, Math.floor(i / 3), i % 3]
        let sum = 0
        for (let r = 0; r < 5; r++) sum += first![(m1 * 5 + r) * 4 + n1]! * last![m2 * 15 + r * 3 + n2]!
        lost += (weight[o * 12 + i]! - sum) ** 2
        norm += weight[o * 12 + i]! ** 2
      }
    expect(Math.sqrt(lost / norm)).toBeCloseTo(relativeError, 6)
    const estimate = await new SiteSpectra(site, engine).estimate(variant!, ranks)
    expect(relativeError).toBeCloseTo(estimate, 6)
  })

  test('has less error than its spectra tell with more cores, and costs what its maps cost', async () => {
    const variant = trainsOf(site)[1]!
    const ranks = variant.fit!({ r1: 3, r2: 4 })
    const { relativeError } = await factorTrain(engine, kernel!, site, variant, ranks, {})
    const estimate = await new SiteSpectra(site, engine).estimate(variant, ranks)
    expect(relativeError).toBeLessThanOrEqual(estimate)
    expect(relativeError).toBeGreaterThan(estimate / Math.SQRT2)
    // [2·3, 3] on 4 columns, [2·4, 3·2] on 2 · 2, [5, 4·2] on 2 · 2; two rows.
    expect(chainCost(site, variant.stages(ranks))).toEqual({
      parameters: 18 + 48 + 40,
      macs: 2 * (18 * 4 + 48 * 2 * 2 + 40 * 4),
    })
    expect(siteCost(site)).toEqual({ parameters: 240, macs: 480 })
  })

  test('lowers ranks to what the others leave room for', () => {
    const variant = trainsOf(site)[1]!
    expect(variant.fullRanks).toEqual({ r1: 6, r2: 10 })
    expect(variant.fit!({ r1: 1, r2: 10 })).toEqual({ r1: 1, r2: 4 })
    expect(variant.fit!({ r1: 6, r2: 1 })).toEqual({ r1: 4, r2: 1 })
  })
})
