// decompose → decompose_info.json + weights → replay on a fresh model: the same outputs, exactly.
import * as ort from 'onnxruntime-node'
import { describe, expect, test } from 'vitest'
import { layerZoo, ZOO_INPUT } from '../../../test/support/layer-zoo.ts'
import { outputError } from '../../../test/support/run-model.ts'
import { randomTensor, smallNetwork } from '../../../test/support/small-network.ts'
import { type DecomposeOptions, decompose, replay } from '../../api/index.ts'
import { createEvaluator, createMatrixEngine } from '../../engine/index.ts'
import type { TensorMap } from '../../graph/index.ts'
import { Tensor } from '../../tensor/index.ts'
import { type DecomposeInfo, formatDecomposeInfo, parseDecomposeInfo } from './info.ts'
import { loadWeights } from './replay.ts'
import type { LowRankPlan } from './step.ts'

const runtime = { evaluator: createEvaluator(ort, { threads: 1 }), matrices: createMatrixEngine(ort, { threads: 1 }) }

async function* samples(): AsyncGenerator<TensorMap> {
  for (let i = 0; i < 2; i++) yield { x: randomTensor(50 + i, ZOO_INPUT) }
}

const fixed = { kind: 'fixed', rank: 3 } as const
const CASES: readonly (readonly [string, DecomposeOptions])[] = [
  ['Tucker-2', { method: 'tucker', rank: fixed }],
  ['spatial SVD', { method: 'spatial', rank: fixed }],
  ['channel SVD', { method: 'channel', rank: fixed }],
  ['matrix SVD', { method: 'svd', rank: fixed }],
  ['CP', { method: 'cp', rank: fixed }],
  ['CP of whole kernels fitted to data', { method: 'cp', cpStages: 3, rank: fixed, data: samples }],
  ['tensor trains', { method: 'tt', rank: fixed }],
  ['tensor trains fitted in sequence', { method: 'tt', rank: fixed, data: samples, sequential: true }],
  ['every form in one file', { budget: { metric: 'params', fraction: 0.6 }, align: 2 }],
  ['spatial SVD fitted to data', { method: 'spatial', rank: fixed, data: samples }],
  ['forms fitted to data', { rank: fixed, data: samples }],
  ['forms fitted in sequence', { rank: fixed, data: samples, sequential: true }],
]

test.each(CASES)('%s: replayed with its weights it is the same network', async (_, options) => {
  const { model, info, record } = await decompose(layerZoo(), options, runtime)
  expect(record.layers.length).toBeGreaterThan(1)
  expect(record.layers.map((layer) => layer.name)).toEqual((record.plan as LowRankPlan).steps.map((step) => step.site))
  const read = parseDecomposeInfo(formatDecomposeInfo(info))
  const again = await replay(layerZoo(), read, { weights: model.graph.initializers }, runtime)
  expect(await outputError(model, again.model, { x: randomTensor(1, ZOO_INPUT) })).toBe(0)
  expect([...again.model.graph.initializers.keys()].sort()).toEqual([...model.graph.initializers.keys()].sort())
  expect(again.record.after).toEqual(record.after)
  expect(again.record.warnings).toEqual([])
})

test('without weights the factors are those of the model itself', async () => {
  const { model, info } = await decompose(layerZoo(), { rank: fixed }, runtime)
  const again = await replay(layerZoo(), info, {}, runtime)
  expect(await outputError(model, again.model, { x: randomTensor(1, ZOO_INPUT) })).toBe(0)
})

test('the roles of stages, their modes and ranks are in the file', async () => {
  const { info: cp } = await decompose(
    smallNetwork(),
    { method: 'cp', cpStages: 4, rank: fixed, only: ['body'] },
    runtime,
  )
  expect(cp[0]).toMatchObject({
    mode: 'CP',
    variant: '4',
    ranks: { rank: 3 },
    decom_nodes: {
      first: { weight_shape: [3, 32, 1, 1] },
      height: { weight_shape: [3, 1, 3, 1] },
      width: { weight_shape: [3, 1, 1, 3] },
      last: { weight_shape: [32, 3, 1, 1] },
    },
  })
  const { info: tt } = await decompose(smallNetwork(), { method: 'tt', rank: 2 }, runtime)
  expect(tt.map(({ mode, variant, ranks }) => [mode, variant, ranks])).toEqual([
    ['TT', '', { r1: 2, r2: 2, r3: 2 }],
    ['TT', '', { r1: 2, r2: 2, r3: 2 }],
    ['TT', '8x4-2x5', { r1: 2 }],
  ])
})

test('grouped spatial layers are no entries of AMCT, which has none', async () => {
  const { info } = await decompose(layerZoo(), { method: 'spatial', rank: fixed }, runtime)
  const modes = new Map(info.map((entry) => [entry.ori_layer_info.name, entry.mode]))
  expect(modes.get('conv')).toBe('SCFK')
  expect(modes.get('grouped')).toBe('SPATIAL')
  expect(modes.get('transposed')).toBe('SPATIAL')
})

test('a file of AMCT rebuilds its structure', async () => {
  const entry = {
    ori_layer_info: {
      name: 'body',
      in_channels: 32,
      out_channels: 32,
      kernel_size: [3, 3],
      stride: [1, 1],
      dilation: [1, 1],
      groups: 1,
    },
    mode: 'SCFK',
    decom_nodes: { first: { weight_shape: [16, 32, 3, 1] }, last: { weight_shape: [32, 16, 1, 3] } },
  }
  const { model, record } = await replay(smallNetwork(), parseDecomposeInfo(JSON.stringify([entry])), {}, runtime)
  expect(model.graph.initializers.get('body.first.weight')?.shape).toEqual([16, 32, 3, 1])
  expect(model.graph.initializers.get('body.last.weight')?.shape).toEqual([32, 16, 1, 3])
  expect(record.skips.map((skip) => skip.reason)).toEqual([
    'decompose_info.json does not list it.',
    'decompose_info.json does not list it.',
  ])
})

describe('refuses with PLAN_MISMATCH', () => {
  const changed = async (change: (entry: DecomposeInfo[number]) => unknown): Promise<unknown> => {
    const { info } = await decompose(smallNetwork(), { rank: fixed, only: ['body'] }, runtime)
    const text = JSON.stringify([{ ...info[0], ...(change(info[0]!) as object) }])
    return replay(smallNetwork(), parseDecomposeInfo(text), {}, runtime)
  }

  test.each(['in_channels', 'out_channels', 'groups', 'kernel_size', 'stride', 'dilation'] as const)(
    'a layer whose %s differs, as AMCT does',
    async (field) => {
      const work = changed(({ ori_layer_info: layer }) => ({
        ori_layer_info: { ...layer, [field]: typeof layer[field] === 'number' ? 7 : [7, 7] },
      }))
      await expect(work).rejects.toMatchObject({
        code: 'PLAN_MISMATCH',
        message: expect.stringMatching(
          new RegExp(
            `^'${field}' of layer 'body' does not match the original model: decompose_info\\.json says .*, the model .*\\. Check the model definition and the decomposition information file\\.$`,
          ),
        ),
      })
    },
  )

  test('a layer that is not there, and shapes that do not follow from the ranks', async () => {
    await expect(
      changed(({ ori_layer_info: layer }) => ({ ori_layer_info: { ...layer, name: 'gone' } })),
    ).rejects.toMatchObject({
      code: 'PLAN_MISMATCH',
      message: "Layer 'gone' of decompose_info.json is not in the model. Use the model it was made for.",
    })
    await expect(changed(() => ({ ranks: { input: 3, output: 4 } }))).rejects.toMatchObject({
      code: 'PLAN_MISMATCH',
      message:
        "Layer 'body': 'core' must have weight shape [4, 3, 3, 3] for its mode and rank; decompose_info.json says [3, 3, 3, 3].",
    })
  })

  test('weights of another structure', () => {
    const model = smallNetwork()
    const load = (name: string, tensor: Tensor) => () => loadWeights(model, new Map([[name, tensor]]))
    expect(load('extra', randomTensor(1, [2, 2]))).toThrow(
      "The weights hold 'extra', which the rebuilt model does not have. Give the weights that were saved with this decompose_info.json.",
    )
    expect(load('head.weight', randomTensor(1, [10, 31]))).toThrow(
      "Weight 'head.weight': the rebuilt model needs float32 [10, 32]; the weights have float32 [10, 31].",
    )
    expect(load('head.weight', Tensor.of(new Float64Array(320), [10, 32]))).toThrow(
      "Weight 'head.weight': the rebuilt model needs float32 [10, 32]; the weights have float64 [10, 32].",
    )
  })
})

test('saved weights that lack some are told', async () => {
  const { info, model } = await decompose(smallNetwork(), { rank: fixed, only: ['body'] }, runtime)
  const weights = new Map(model.graph.initializers)
  weights.delete('stem.weight')
  const { record } = await replay(smallNetwork(), info, { weights }, runtime)
  expect(record.warnings).toEqual(['Not in the saved weights, kept from the model: stem.weight.'])
})
