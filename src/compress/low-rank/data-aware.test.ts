import { describe, expect, test } from 'vitest'
import { createRandom } from '../../core/index.ts'
import { createPlainMatrixEngine, symmetricEigen } from '../../decompose/index.ts'
import { GraphBuilder } from '../../graph/index.ts'
import { Tensor } from '../../tensor/index.ts'
import { findSites, type Site } from '../sites.ts'
import { fitGroup } from './data-aware.ts'
import { factorGroup } from './factor.ts'
import { variantsOf } from './forms.ts'
import { type GroupKernel, groupKernels, splitTaps } from './kernel.ts'
import { type GroupMoments, outputGram } from './moments.ts'
import type { FormName, FormVariant, Ranks } from './stage.ts'

const engine = createPlainMatrixEngine()
const OUTPUTS = 10
const INPUTS = 6
const TAPS = 9
const D = INPUTS * TAPS

function makeSite(): Site {
  const random = createRandom(1)
  const b = new GraphBuilder()
  const weight = Tensor.of(
    Float64Array.from({ length: OUTPUTS * D }, () => random.normal()),
    [OUTPUTS, INPUTS, 3, 3],
  )
  const x = b.input('x', 'float64', [1, INPUTS, 8, 8])
  b.output(b.op('Conv', [x, b.constant(weight, 'w')], { pads: [1, 1, 1, 1] }, 'y'), 'float64')
  return findSites(b.model()).sites[0]!
}

/** Patches whose coordinates are strongly correlated, as activations are. */
function makeMoments(seed: number): GroupMoments {
  const random = createRandom(seed)
  const mix = Float64Array.from({ length: D * D }, (_, i) => random.normal() * 0.85 ** (i % D))
  const covariance = new Float64Array(D * D)
  for (let i = 0; i < D; i++)
    for (let j = 0; j < D; j++) for (let k = 0; k < D; k++) covariance[i * D + j]! += mix[i * D + k]! * mix[j * D + k]!
  return { covariance, mean: Float64Array.from({ length: D }, () => random.normal()) }
}

const site = makeSite()
const kernel = groupKernels(site)[0]!
const moments = makeMoments(2)

/** The weight `[out, in · taps]` that the stages of a variant stand for, one input and one tap at a time. */
function multiplyOut(
  stages: Readonly<Record<string, ArrayLike<number>>>,
  variant: FormVariant,
  ranks: Ranks,
): Float64Array {
  const chain = variant.stages(ranks).map((stage) => {
    const split = splitTaps(site.kernel, stage.carries)
    const data = stages[stage.role]!
    const width = stage.depthwise ? 1 : stage.inputs
    expect(data.length).toBe(stage.outputs * width * split.carriedCount)
    const element = (out: number, input: number, tap: number): number => {
      if (stage.depthwise && out !== input) return 0
      return data[(out * width + (stage.depthwise ? 0 : input)) * split.carriedCount + split.carried[tap]!]!
    }
    return { stage, element }
  })
  const out = new Float64Array(OUTPUTS * D)
  for (let i = 0; i < INPUTS; i++)
    for (let t = 0; t < TAPS; t++) {
      let values: number[] = Array.from({ length: INPUTS }, (_, channel) => (channel === i ? 1 : 0))
      for (const { stage, element } of chain)
        values = Array.from({ length: stage.outputs }, (_, o) =>
          values.reduce((sum, value, input) => sum + value * element(o, input, t), 0),
        )
      for (let o = 0; o < OUTPUTS; o++) out[o * D + i * TAPS + t] = values[o]!
    }
  return out
}

/** tr((W − Ŵ) C (W − Ŵ)ᵀ), by definition. */
function outputError(weight: Float64Array): number {
  let sum = 0
  for (let o = 0; o < OUTPUTS; o++)
    for (let i = 0; i < D; i++)
      for (let j = 0; j < D; j++)
        sum +=
          (kernel.data[o * D + i]! - weight[o * D + i]!) *
          moments.covariance[i * D + j]! *
          (kernel.data[o * D + j]! - weight[o * D + j]!)
  return sum
}

function find(form: FormName, name: string): FormVariant {
  const variants = variantsOf(form, site)
  if (typeof variants === 'string') throw new Error(variants)
  return variants.find((variant) => variant.variant === name)!
}

const CASES: readonly (readonly [FormName, string, Ranks])[] = [
  ['tucker', '', { output: 5, input: 3 }],
  ['spatial', 'h-w', { rank: 7 }],
  ['spatial', 'w-h', { rank: 7 }],
  ['channel', 'kernel-first', { rank: 4 }],
  ['channel', 'kernel-last', { rank: 3 }],
  ['cp', '3', { rank: 14 }],
  ['cp', '4', { rank: 16 }],
  ['tt', '', { r1: 4, r2: 8, r3: 6 }],
]

describe.each(CASES)('data-aware %s %s', (form, name, ranks) => {
  const variant = find(form, name)

  test('reports the output error and the weight error of the factors it returns', async () => {
    const fitted = await fitGroup(engine, kernel, site, variant, ranks, moments)
    const weight = multiplyOut(fitted.stages, variant, ranks)
    expect(fitted.outputSquaredError / outputError(weight)).toBeCloseTo(1, 8)
    const difference = weight.reduce((sum, value, i) => sum + (value - kernel.data[i]!) ** 2, 0)
    expect(fitted.squaredError / difference).toBeCloseTo(1, 8)
  })

  test('has less output error than the factors of the weight alone', async () => {
    const fitted = await fitGroup(engine, kernel, site, variant, ranks, moments)
    const plain = await factorGroup(engine, kernel, site, variant, ranks)
    expect(fitted.outputSquaredError).toBeLessThan(0.9 * outputError(multiplyOut(plain.stages, variant, ranks)))
  })

  test('loses nothing at full rank', async () => {
    const fitted = await fitGroup(engine, kernel, site, variant, variant.fullRanks, moments)
    expect(Math.sqrt(fitted.outputSquaredError / fitted.outputSquaredNorm)).toBeLessThan(1e-6)
  })

  test('cannot be improved by moving the last stage', async () => {
    const fitted = await fitGroup(engine, kernel, site, variant, ranks, moments)
    const best = outputError(multiplyOut(fitted.stages, variant, ranks))
    const random = createRandom(3)
    for (let trial = 0; trial < 5; trial++) {
      const last = Float64Array.from(fitted.stages.last!, (value) => value + 1e-3 * random.normal())
      expect(outputError(multiplyOut({ ...fitted.stages, last }, variant, ranks))).toBeGreaterThan(best)
    }
  })

  test('shifts the bias by the mean of what is lost', async () => {
    const fitted = await fitGroup(engine, kernel, site, variant, ranks, moments)
    const weight = multiplyOut(fitted.stages, variant, ranks)
    const expected = Array.from({ length: OUTPUTS }, (_, o) => {
      let sum = 0
      for (let i = 0; i < D; i++) sum += (kernel.data[o * D + i]! - weight[o * D + i]!) * moments.mean[i]!
      return sum
    })
    const scale = Math.hypot(...expected)
    const difference = Math.hypot(...expected.map((value, o) => value - fitted.biasShift[o]!))
    expect(difference / scale).toBeLessThan(1e-8)
  })
})

test('kernel-first reaches the optimum: the sum of the dropped eigenvalues of the output covariance', async () => {
  const rank = 4
  const fitted = await fitGroup(engine, kernel, site, find('channel', 'kernel-first'), { rank }, moments)
  const { values } = await symmetricEigen(engine, await outputGram(engine, kernel as GroupKernel, moments))
  const dropped = values.slice(rank).reduce((sum, value) => sum + value, 0)
  expect(fitted.outputSquaredError / dropped).toBeCloseTo(1, 8)
})
