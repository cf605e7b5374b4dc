// The contract of every compression method (plan → apply → record), kept by low-rank decomposition.
import * as ort from 'onnxruntime-node'
import { describe, expect, test } from 'vitest'
import { layerZoo, ZOO_INPUT } from '../../../test/support/layer-zoo.ts'
import { outputError } from '../../../test/support/run-model.ts'
import { maybeShared } from '../../../test/support/shared.ts'
import { randomTensor, smallNetwork } from '../../../test/support/small-network.ts'
import { decompose, prepareModel } from '../../api/index.ts'
import { WhittleError } from '../../core/index.ts'
import { createEvaluator, createMatrixEngine, observeShapes } from '../../engine/index.ts'
import { forEachNode, GraphBuilder, type Model, modelCost, modelHash, weightFactsOf } from '../../graph/index.ts'
import { loadModel } from '../../node/index.ts'
import { encodeModel } from '../../onnx/index.ts'
import { Tensor } from '../../tensor/index.ts'
import { findSites } from '../sites.ts'
import { applyLowRank } from './apply.ts'
import { siteCost } from './chain-cost.ts'
import { type LowRankOptions, planLowRank } from './plan.ts'
import type { LowRankPlan } from './step.ts'

const evaluator = createEvaluator(ort, { threads: 1 })
const matrices = createMatrixEngine(ort, { threads: 1 })
const runtime = { evaluator, matrices }

const zoo = await prepareModel(layerZoo(), runtime)
const shapes = await observeShapes(evaluator, zoo)
const context = { matrices, shapes, totals: modelCost(zoo, shapes) }

const POLICIES: readonly (readonly [string, LowRankOptions])[] = [
  ['a fixed rank', { rank: { kind: 'fixed', rank: 4 } }],
  ['a ratio', { rank: { kind: 'ratio', ratio: 0.25 }, align: 1 }],
  ['energy', { rank: { kind: 'energy', energy: 0.5 }, align: 4 }],
  ['an error bound', { rank: { kind: 'error', error: 0.6 }, align: 4 }],
  ['EVBMF', { rank: { kind: 'evbmf' }, align: 8 }],
  ['a MAC budget', { budget: { metric: 'macs', fraction: 0.8 }, align: 4 }],
  ['a parameter budget', { budget: { metric: 'params', fraction: 0.8 }, align: 4 }],
  ['CP at a fixed rank', { method: 'cp', rank: { kind: 'fixed', rank: 4 } }],
  ['CP at a ratio, whole kernels, unguarded', { method: 'cp', rank: 'ratio=0.5', cpStages: 3, cpGuard: false }],
  ['CP within an error bound', { method: 'cp', rank: 'error=0.7', align: 4 }],
  ['CP by EVBMF', { method: 'cp', rank: 'evbmf', align: 4 }],
  ['CP under a MAC budget', { method: 'cp', budget: 'macs=0.8', align: 4 }],
  ['tensor trains at a fixed rank', { method: 'tt', rank: { kind: 'fixed', rank: 3 } }],
  ['tensor trains by energy', { method: 'tt', rank: 'energy=0.5', align: 4 }],
  ['tensor trains within an error bound', { method: 'tt', rank: 'error=0.8', align: 2 }],
  ['tensor trains by EVBMF', { method: 'tt', rank: 'evbmf', align: 4 }],
  ['tensor trains under a parameter budget', { method: 'tt', budget: 'params=0.8', align: 4 }],
]

const bytesOf = (model: Model): string => Buffer.from(encodeModel(model)).toString('base64')

async function failure(work: Promise<unknown>): Promise<{ code: string; message: string }> {
  try {
    await work
  } catch (error) {
    if (error instanceof WhittleError) return { code: error.code, message: error.message }
    throw error
  }
  throw new Error('Nothing was thrown.')
}

describe.each(POLICIES)('planned by %s', (_, options) => {
  test('the plan is JSON, the same each time, and leaves the model as it was', async () => {
    const hash = modelHash(zoo)
    const bytes = bytesOf(zoo)
    const plan = await planLowRank(zoo, options, context)
    expect(plan.steps.length).toBeGreaterThan(1)
    expect(JSON.parse(JSON.stringify(plan))).toEqual(plan)
    expect(await planLowRank(zoo, options, context)).toEqual(plan)
    expect(modelHash(zoo)).toBe(hash)
    expect(bytesOf(zoo)).toBe(bytes)
  })

  test('applied twice, also from its JSON, it gives the same bytes and leaves the model as it was', async () => {
    const plan = await planLowRank(zoo, options, context)
    const bytes = bytesOf(zoo)
    const first = await applyLowRank(zoo, plan, { matrices })
    const second = await applyLowRank(zoo, JSON.parse(JSON.stringify(plan)) as LowRankPlan, { matrices })
    expect(bytesOf(first.model)).toBe(bytesOf(second.model))
    expect(bytesOf(first.model)).not.toBe(bytes)
    expect(bytesOf(zoo)).toBe(bytes)
  })

  test('inputs and outputs stay, and the model runs', async () => {
    const plan = await planLowRank(zoo, options, context)
    const { model } = await applyLowRank(zoo, plan, { matrices })
    expect(model.graph.inputs).toEqual(zoo.graph.inputs)
    expect(model.graph.outputs).toEqual(zoo.graph.outputs)
    expect(await outputError(zoo, model, { x: randomTensor(1, ZOO_INPUT) })).toBeGreaterThan(0)
  })

  test('the record holds the costs that counting the models gives, layer by layer', async () => {
    const { model, record } = await decompose(zoo, options, runtime)
    const after = modelCost(model, await observeShapes(evaluator, model))
    expect(record.before).toEqual({
      parameters: context.totals.parameters,
      bytes: context.totals.bytes,
      macs: context.totals.macs,
    })
    expect(record.after).toEqual({ parameters: after.parameters, bytes: after.bytes, macs: after.macs })
    const bias = (name: string): number => findSites(zoo).sites.find((site) => site.name === name)?.bias?.size ?? 0
    for (const layer of record.layers) {
      const before = context.totals.perNode.get(layer.name)!
      expect(layer.parameters.before).toBe(before.parameters - bias(layer.name))
      expect(layer.macs.before).toBe(before.macs)
      const chain = [...after.perNode].filter(([name]) => name.startsWith(`${layer.name}.`))
      const sum = (key: 'parameters' | 'macs'): number => chain.reduce((total, [, cost]) => total + cost[key]!, 0)
      expect(layer.parameters.after, layer.name).toBe(sum('parameters') - bias(layer.name))
      expect(layer.macs.after, layer.name).toBe(sum('macs'))
      expect(layer.parameters.after).toBeLessThanOrEqual(layer.parameters.before)
      expect(layer.macs.after!).toBeLessThanOrEqual(layer.macs.before!)
    }
  })

  test('every weight-carrying node is in the steps or has its reason, once', async () => {
    const plan = await planLowRank(zoo, options, context)
    const carriers: string[] = []
    forEachNode(zoo.graph, (node) => {
      if (weightFactsOf(node)) carriers.push(node.name)
    })
    const named = [...plan.steps.map((step) => step.site), ...plan.skips.map((skip) => skip.name)]
    expect([...named].sort()).toEqual([...carriers].sort())
    for (const { reason } of plan.skips) expect(reason).toMatch(/^[A-Z].*\.$/s)
  })
})

test('layers that no method takes have the reason', async () => {
  const { skips } = await planLowRank(zoo, { rank: { kind: 'fixed', rank: 2 } }, context)
  expect(Object.fromEntries(skips.map(({ name, reason }) => [name, reason]))).toEqual({
    depthwise: 'At rank 2, spatial would not be cheaper: 41472 MACs instead of 31104.',
    published: "Its weight 'published.weight' is an output of the graph.",
    'then conv': "It is inside the If 'branch'.",
    'else conv': "It is inside the If 'branch'.",
    activations: 'Both its operands are activations; it has no weight.',
    left: 'Its weight is the left operand; only right ones are decomposed.',
  })
})

test.each([
  [
    'cp',
    {
      depthwise: 'Each of its 24 groups maps 1 to 1 channels; there is no rank to reduce.',
      pointwise: 'CP of a 1-wide kernel is its channel SVD (method channel).',
      gemm: 'CP decomposes convolutions; for a matrix it is the matrix SVD (method svd).',
    },
  ],
  [
    'tt',
    {
      depthwise: 'Each of its 24 groups maps 1 to 1 channels; there is no rank to reduce.',
      pointwise: 'A tensor train of a 1-wide kernel is its channel SVD (method channel).',
      published: "Its weight 'published.weight' is an output of the graph.",
    },
  ],
] as const)('layers that %s does not take have the reason', async (method, reasons) => {
  const { skips } = await planLowRank(zoo, { method, rank: 2 }, context)
  const found = new Map(skips.map(({ name, reason }) => [name, reason]))
  for (const [name, reason] of Object.entries(reasons)) expect(found.get(name)).toBe(reason)
})

test('chains of CP can be asked for by their stages', async () => {
  for (const cpStages of [3, 4] as const) {
    const { steps } = await planLowRank(zoo, { method: 'cp', rank: 'error=0.8', align: 1, cpStages }, context)
    expect([...new Set(steps.map((step) => step.variant))]).toEqual([String(cpStages)])
  }
  const { steps, skips } = await planLowRank(zoo, { method: 'cp', rank: 4, cpStages: 5 }, context)
  expect(steps).toEqual([])
  expect(skips.find(({ name }) => name === 'conv')?.reason).toBe('Its kernel has no CP chain of 5 stages.')
})

test('trains of matrices are fitted to the weight, and the plan says so', async () => {
  const data = async function* () {
    yield { x: randomTensor(1, ZOO_INPUT) }
  }
  const { plan } = await decompose(zoo, { method: 'tt', rank: 2, only: ['conv', 'gemm'], data }, runtime)
  expect(plan.steps.map(({ site, dataAware, weightOnly }) => [site, dataAware, weightOnly])).toEqual([
    ['conv', true, undefined],
    ['gemm', false, 'Tensor trains of matrices are fitted to the weight.'],
  ])
  expect(plan.warnings).toEqual([
    "Fitted to the weight, not to data: 'gemm': Tensor trains of matrices are fitted to the weight.",
  ])
})

test.each([6, 9])('trains of matrices under opset %d', async (opset) => {
  const b = new GraphBuilder()
  const x = b.input('x', 'float32', ['N', 5, 12])
  b.output(b.op('MatMul', [x, b.constant(randomTensor(1, [12, 20]), 'w')], {}, 'y'), 'float32')
  const model = b.model(opset)
  const { model: small, plan } = await decompose(model, { method: 'tt', rank: 2 }, runtime)
  if (opset === 9) {
    expect(plan.steps.map(({ variant }) => variant)).toEqual(['3x2x2-2x2x5'])
    expect(await outputError(model, small, { x: randomTensor(1, [3, 5, 12]) })).toBeLessThan(1)
  } else
    expect(plan.skips.map(({ reason }) => reason)).toEqual([
      'A tensor train of a matrix needs opset 7 or later; the model has 6.',
    ])
})

test('layers left out by patterns have the reason, and patterns that match nothing are refused', async () => {
  const options: LowRankOptions = { rank: { kind: 'fixed', rank: 2 }, only: ['con?', 'shared*', 'gemm'], skip: ['g*'] }
  const plan = await planLowRank(zoo, options, context)
  expect(plan.steps.map((step) => step.site)).toEqual(['conv', 'shared a', 'shared b'])
  const reasons = new Map(plan.skips.map(({ name, reason }) => [name, reason]))
  expect(reasons.get('gemm')).toBe('Left out on request (skip).')
  expect(reasons.get('pointwise')).toBe('Not selected (only).')
  expect(await failure(planLowRank(zoo, { only: ['fc'] }, context))).toEqual({
    code: 'INVALID_ARGUMENT',
    message: "Pattern 'fc' matches no layer. 'whittle inspect' lists the names.",
  })
})

test('layers that share a weight keep sharing it; one that is left out keeps it whole', async () => {
  const both = await planLowRank(zoo, { rank: { kind: 'fixed', rank: 4 }, only: ['shared *'] }, context)
  const { model } = await applyLowRank(zoo, both, { matrices })
  const first = model.graph.nodes.filter((node) => /^shared [ab]\.first$/.test(node.name))
  expect(first.map((node) => node.inputs[1])).toEqual(['shared.first.weight', 'shared.first.weight'])
  expect(model.graph.initializers.has('shared.weight')).toBe(false)
  const one = await planLowRank(zoo, { rank: { kind: 'fixed', rank: 4 }, only: ['shared a'] }, context)
  expect(one.skips.find((skip) => skip.name === 'shared a')?.reason).toBe(
    "Its weight 'shared.weight' is also used by Conv 'shared b'.",
  )
})

test('a plan edited so that sharing layers differ gives each its own ranks', async () => {
  const plan = await planLowRank(zoo, { rank: { kind: 'fixed', rank: 4 }, only: ['shared *'] }, context)
  const [a, b] = plan.steps
  const edited = { ...plan, steps: [a!, { ...b!, ranks: { output: 6, input: 5 } }] }
  const { model, outcomes } = await applyLowRank(zoo, edited, { matrices })
  expect(outcomes.map((outcome) => outcome.weights.map((weight) => weight.shape[0]))).toEqual([
    [4, 4, 24],
    [5, 6, 24],
  ])
  expect(outcomes[1]!.relativeError).toBeLessThan(outcomes[0]!.relativeError)
  await outputError(zoo, model, { x: randomTensor(1, ZOO_INPUT) })
})

describe('refusals', () => {
  const fixed: LowRankOptions = { rank: { kind: 'fixed', rank: 4 }, only: ['conv'] }

  test('a cancelled plan and a cancelled application stop with ABORTED', async () => {
    const expected = { code: 'ABORTED', message: 'The work was cancelled.' }
    const plan = await planLowRank(zoo, fixed, context)
    const signal = AbortSignal.abort()
    expect(await failure(planLowRank(zoo, fixed, { ...context, signal }))).toEqual(expected)
    expect(await failure(applyLowRank(zoo, plan, { matrices, signal }))).toEqual(expected)
    const controller = new AbortController()
    const onProgress = (): void => controller.abort()
    expect(await failure(decompose(zoo, { ...fixed, signal: controller.signal, onProgress }, runtime))).toEqual(
      expected,
    )
  })

  test('cancelling stops CP while its curves are computed', async () => {
    // The curves come after the layer was announced; there is only this one.
    const controller = new AbortController()
    const watching = { ...context, signal: controller.signal, onProgress: () => controller.abort() }
    const work = planLowRank(zoo, { method: 'cp', rank: 'energy=0.5', only: ['conv'] }, watching)
    expect(await failure(work)).toEqual({ code: 'ABORTED', message: 'The work was cancelled.' })
  })

  test('a plan for another model, method or version, with unknown or doubled layers, is a mismatch', async () => {
    const plan = await planLowRank(zoo, fixed, context)
    const other = smallNetwork()
    const mismatch = (message: string) => ({ code: 'PLAN_MISMATCH', message })
    const apply = (changes: object, model = zoo): Promise<{ code: string; message: string }> =>
      failure(applyLowRank(model, { ...plan, ...changes }, { matrices }))
    const [step] = plan.steps
    expect(await apply({}, other)).toEqual(
      mismatch(
        `The plan was made for another model: it is for ${modelHash(zoo)}, this one is ${modelHash(other)}. Plan again.`,
      ),
    )
    expect(await apply({ version: 2 })).toEqual(
      mismatch("A plan of method 'low-rank', version 1, is needed; got 'low-rank', version 2. Plan again."),
    )
    expect(await apply({ method: 'prune' })).toEqual(
      mismatch("A plan of method 'low-rank', version 1, is needed; got 'prune', version 1. Plan again."),
    )
    expect(await apply({ steps: [{ ...step, site: 'conv9' }] })).toEqual(
      mismatch("The plan names layer 'conv9', which the model does not have."),
    )
    expect(await apply({ steps: [step, step] })).toEqual(
      mismatch("The plan names layer 'conv' twice; a layer is replaced once. Remove one of the steps."),
    )
    expect(await apply({ steps: [{ ...step, form: 'block' }] })).toEqual(
      mismatch("Conv 'conv': form must be one of tucker, spatial, channel, svd, cp, tt; the plan says 'block'."),
    )
    expect(await apply({ steps: [{ ...step, variant: 'x' }] })).toEqual(
      mismatch("Conv 'conv': form tucker has no variant 'x' here."),
    )
    expect(await apply({ steps: [{ ...step, form: 'svd' }] })).toEqual(
      mismatch("Conv 'conv': Matrix SVD decomposes linear layers; use tucker, spatial or channel for convolutions."),
    )
  })

  test('ranks outside 1 … full rank are refused, planned or edited', async () => {
    const plan = await planLowRank(zoo, fixed, context)
    for (const output of [0, 1.5, 25])
      expect(
        await failure(
          applyLowRank(zoo, { ...plan, steps: [{ ...plan.steps[0]!, ranks: { input: 4, output } }] }, { matrices }),
        ),
      ).toEqual({
        code: 'RANK_OUT_OF_RANGE',
        message: `Conv 'conv': rank 'output' must be 1 to 24; the plan says ${output}.`,
      })
    expect(await failure(planLowRank(zoo, { rank: { kind: 'fixed', rank: 25 }, only: ['conv'] }, context))).toEqual({
      code: 'RANK_OUT_OF_RANGE',
      message: "Conv 'conv': rank must be 1 to 24 for tucker; got 25. No layer has more. Give a smaller rank.",
    })
  })

  test('ranks of a train that the others leave no room for are refused', async () => {
    const trains = await planLowRank(zoo, { method: 'tt', rank: 3, only: ['conv'] }, context)
    const [step] = trains.steps
    expect(step!.ranks).toEqual({ r1: 3, r2: 3, r3: 3 })
    const edited = { ...trains, steps: [{ ...step!, ranks: { r1: 3, r2: 10, r3: 4 } }] }
    expect(await failure(applyLowRank(zoo, edited, { matrices }))).toEqual({
      code: 'RANK_OUT_OF_RANGE',
      message: "Conv 'conv': rank 'r2' must be 1 to 9 next to the other ranks; the plan says 10.",
    })
    expect(await failure(planLowRank(zoo, { method: 'cp', rank: 1000, only: ['conv'] }, context))).toEqual({
      code: 'RANK_OUT_OF_RANGE',
      message: "Conv 'conv': rank must be 1 to 72 for cp; got 1000. No layer has more. Give a smaller rank.",
    })
  })

  test('a rank beyond some layers leaves those alone', async () => {
    const plan = await planLowRank(zoo, { rank: { kind: 'fixed', rank: 4 } }, context)
    expect(plan.steps.length).toBeGreaterThan(4)
    expect(plan.skips.find((skip) => skip.name === 'depthwise')?.reason).toBe(
      'Its full rank is 3 for spatial; 4 was asked for.',
    )
  })

  test('weights with NaN are refused by name', async () => {
    const b = new GraphBuilder()
    const values = new Float32Array(64).fill(1)
    values[5] = Number.NaN
    const x = b.input('x', 'float32', [1, 8])
    b.output(b.op('MatMul', [x, b.constant(Tensor.of(values, [8, 8]), 'w')], {}, 'y'), 'float32')
    const options: LowRankOptions = { rank: { kind: 'energy', energy: 0.5 }, align: 1 }
    expect(await failure(decompose(b.model(), options, runtime))).toEqual({
      code: 'NOT_FINITE',
      message:
        "MatMul 'node_MatMul_0': weights must be finite; 'w' has NaN at element 5. Repair the weight, or leave the layer out with --skip.",
    })
  })

  test('wrong options are refused with what to do', async () => {
    const message = async (options: LowRankOptions): Promise<string> =>
      (await failure(planLowRank(zoo, options, context))).message
    expect(await message({ align: 0 })).toBe(
      'Align 0: ranks are aligned to a whole number of at least 1. Use 1 for no alignment.',
    )
    expect(await message({ rank: { kind: 'amct' }, method: 'tucker' })).toBe(
      "Rank 'amct' belongs to spatial decomposition; got method 'tucker'. Use --method spatial.",
    )
    expect(await message({ budget: { metric: 'macs', fraction: 0.01 }, align: 1 })).toMatch(
      /^Budget macs=0\.01: the network cannot go below 0\.\d{3} of its macs with these methods and ranks aligned to 1\. Raise the budget or lower --align\.$/,
    )
    expect(await failure(planLowRank(zoo, { budget: { metric: 'macs', fraction: 0.5 } }, { matrices }))).toEqual({
      code: 'INVALID_ARGUMENT',
      message: 'A MAC budget needs the shapes of the network. Give --input-shape.',
    })
  })
})

describe('budgets', () => {
  test.each(['macs', 'params'] as const)('of %s are met, and hardly more is given up', async (metric) => {
    const key = metric === 'macs' ? 'macs' : 'parameters'
    for (const input of [
      ['N', 3, 32, 32],
      [4, 3, 32, 32],
    ])
      for (const fraction of [0.3, 0.5, 0.75, 0.95]) {
        const model = smallNetwork({ input })
        const { record } = await decompose(model, { budget: { metric, fraction }, align: 1 }, runtime)
        const share = record.after[key]! / record.before[key]!
        expect(share, `${metric}=${fraction}`).toBeLessThanOrEqual(fraction)
        expect(share, `${metric}=${fraction}`).toBeGreaterThan(fraction - 0.06)
      }
  })

  test('of MACs hold where rows of a batch are folded into a matrix', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', ['N', 16, 32])
    const rows = b.op('Reshape', [x, b.constant(Tensor.of(BigInt64Array.of(-1n, 32n), [2]))])
    b.output(b.op('Gemm', [rows, b.constant(randomTensor(1, [32, 48]), 'w')], {}, 'y'), 'float32')
    const { record } = await decompose(b.model(), { budget: { metric: 'macs', fraction: 0.5 }, align: 1 }, runtime)
    expect(record.layers[0]!.macs.before).toBe(16 * 32 * 48)
    expect(record.after.macs! / record.before.macs!).toBeLessThanOrEqual(0.5)
  })

  const resnet = maybeShared('models', 'onnx', 'resnet20-cifar10.onnx')
  test.skipIf(!resnet)('are met on ResNet-20, no layer gets dearer', async () => {
    const model = await loadModel(resnet!)
    for (const budget of [
      { metric: 'macs', fraction: 0.5 },
      { metric: 'params', fraction: 0.4 },
    ] as const) {
      const { record } = await decompose(model, { budget, align: 4 }, runtime)
      const key = budget.metric === 'macs' ? 'macs' : 'parameters'
      const share = record.after[key]! / record.before[key]!
      expect(share).toBeLessThanOrEqual(budget.fraction)
      expect(share).toBeGreaterThan(budget.fraction - 0.02)
      for (const layer of record.layers) {
        expect(layer.macs.after!).toBeLessThanOrEqual(layer.macs.before!)
        expect(layer.parameters.after).toBeLessThanOrEqual(layer.parameters.before)
      }
    }
  })
})

describe('what is not cheaper is left alone', () => {
  test('with alignment beyond the channels', async () => {
    const plan = await planLowRank(zoo, { rank: { kind: 'energy', energy: 0.9 }, align: 64, only: ['conv'] }, context)
    expect(plan.steps).toEqual([])
    expect(plan.warnings).toEqual(['No layer was decomposed.'])
    expect(plan.skips.find((skip) => skip.name === 'conv')?.reason).toBe(
      'At rank 24 and 8, tucker would not be cheaper: 340992 MACs instead of 248832 (ranks aligned to 64).',
    )
  })

  test('for each of the layers that share a weight', async () => {
    const { sites } = findSites(zoo, shapes)
    for (const rank of [4, 8, 12, 16, 20]) {
      const plan = await planLowRank(zoo, { rank: { kind: 'fixed', rank }, only: ['shared *'] }, context)
      for (const step of plan.steps) {
        const before = siteCost(sites.find((site) => site.name === step.site)!)
        expect(step.macs.after!).toBeLessThanOrEqual(before.macs!)
      }
    }
  })
})
