// AMCT's choices: eligibility, orientation, rank. Reference values: AMCT's documentation and its estimator.
import { describe, expect, test } from 'vitest'
import { randomTensor } from '../../../test/support/small-network.ts'
import { createPlainMatrixEngine } from '../../decompose/index.ts'
import { type AttributeInput, GraphBuilder, type Model } from '../../graph/index.ts'
import { applyLowRank } from './apply.ts'
import { planLowRank } from './plan.ts'

const matrices = createPlainMatrixEngine()

function conv(weight: readonly number[], attributes: Record<string, AttributeInput> = {}): Model {
  const b = new GraphBuilder()
  const x = b.input('x', 'float32', ['N', weight[1]! * Number(attributes.group ?? 1), 12, 12])
  b.output(b.op('Conv', [x, b.constant(randomTensor(1, weight), 'conv.weight')], attributes, 'y'), 'float32')
  b.graph.nodes[0]!.name = 'conv'
  return b.model()
}

test.each([
  [[64, 64, 3, 3], 'h-w', [32, 32]],
  [[128, 64, 3, 3], 'h-w', [32, 32]],
  [[64, 128, 3, 3], 'w-h', [32, 32]],
  [[64, 64, 5, 3], 'w-h', [32, 32]],
  [[64, 128, 5, 3], 'h-w', [32, 32]],
  [[96, 96, 3, 3], 'h-w', [48, 48]],
  [[256, 256, 3, 3], 'h-w', [160, 192]],
  [[64, 3, 7, 7], 'h-w', [16, 16]],
] as const)('a conv %j is split %s with a rank in %j', async (weight, variant, [low, high]) => {
  const plan = await planLowRank(conv(weight), { rank: { kind: 'amct' } }, { matrices })
  expect(plan.skips).toEqual([])
  expect(plan.steps.map((step) => `${step.form} ${step.variant}`)).toEqual([`spatial ${variant}`])
  const { rank } = plan.steps[0]!.ranks
  expect(rank).toBeGreaterThanOrEqual(low)
  expect(rank).toBeLessThanOrEqual(high)
  expect(rank! % 16).toBe(0)
  expect(plan.steps[0]!.rawRanks?.rank).toBeDefined()
})

test('the rank is that of AMCT’s own orientation when another is asked for', async () => {
  const model = conv([64, 128, 5, 3])
  const own = await planLowRank(model, { rank: { kind: 'amct' } }, { matrices })
  const forced = await planLowRank(model, { rank: { kind: 'amct' }, mode: 'FCFK' }, { matrices })
  expect(forced.steps[0]!.variant).toBe('w-h')
  expect(forced.steps[0]!.ranks).toEqual(own.steps[0]!.ranks)
})

test('the orthonormal factor is on the shorter side, the other carries the singular values', async () => {
  for (const [weight, role] of [
    [[64, 64, 3, 3], 'first'],
    [[64, 128, 3, 3], 'last'],
  ] as const) {
    const model = conv(weight)
    const plan = await planLowRank(model, { rank: { kind: 'amct' } }, { matrices })
    const { model: result } = await applyLowRank(model, plan, { matrices })
    const data = result.graph.initializers.get(`conv.${role}.weight`)!.data as Float32Array
    // Squared lengths of orthonormal vectors sum to their number.
    expect(data.reduce((sum, value) => sum + value ** 2, 0)).toBeCloseTo(32, 3)
  }
})

describe('is refused', () => {
  test.each([
    [[64, 32, 3, 3], { group: 2 }, 'AMCT requires group 1; it is 2.'],
    [[64, 64, 3, 3], { dilations: [2, 1] }, 'AMCT requires dilation 1; it is [2, 1].'],
    [[64, 64, 3, 2], {}, 'AMCT requires a kernel of at least 3×3; it is 3×2.'],
    [[64, 64, 3, 3], { strides: [3, 1] }, 'AMCT requires strides up to 2; they are [3, 1].'],
    [[64, 2, 7, 7], {}, "AMCT's final check requires kernel × channels ≥ 16; it is 14."],
    [[64, 63, 3, 3], {}, "AMCT's final check requires at least 64 channels for kernels below 7×7; it has 63."],
    [[64, 64, 1, 1], {}, 'AMCT requires a kernel of at least 3×3; it is 1×1.'],
    [[64, 64, 3], {}, 'AMCT decomposes 2-D convolutions only.'],
  ] as const)('a conv %j with %j', async (weight, attributes, reason) => {
    const plan = await planLowRank(conv(weight, { ...attributes }), { rank: { kind: 'amct' } }, { matrices })
    expect(plan.steps).toEqual([])
    expect(plan.skips).toEqual([{ name: 'conv', reason }])
  })
})

test('a weight of zeros gets AMCT’s least rank and a warning', async () => {
  const model = conv([64, 64, 3, 3])
  const weight = model.graph.initializers.get('conv.weight')!
  ;(weight.data as Float32Array).fill(0)
  const plan = await planLowRank(model, { rank: { kind: 'amct' } }, { matrices })
  expect(plan.steps[0]!.rawRanks).toEqual({ rank: 0 })
  expect(plan.steps[0]!.ranks).toEqual({ rank: 32 })
  expect(plan.warnings).toEqual([
    "EVBMF finds nothing but noise in the weight of 'conv'. Check that the network is trained.",
  ])
})
