// At full rank every form stands for the same function as the layer it replaces, for every flavour of layer.
import * as ort from 'onnxruntime-node'
import { afterAll, describe, expect, test } from 'vitest'
import { createRandom } from '../../core/index.ts'
import { createEvaluator, createMatrixEngine, observeShapes } from '../../engine/index.ts'
import { type AttributeInput, float, GraphBuilder, type Model, modelCost, modelHash } from '../../graph/index.ts'
import { sizeOf, Tensor } from '../../tensor/index.ts'
import { findSites } from '../sites.ts'
import { applyLowRank } from './apply.ts'
import { chainCost, siteCost } from './chain-cost.ts'
import { FORM_NAMES, variantsOf } from './forms.ts'
import type { FormVariant } from './stage.ts'
import type { LowRankPlan } from './step.ts'

const evaluator = createEvaluator(ort, { threads: 1 })
const matrices = createMatrixEngine(ort, { threads: 1 })

interface Flavour {
  readonly name: string
  readonly op: 'Conv' | 'ConvTranspose' | 'Gemm' | 'MatMul'
  readonly input: readonly number[]
  readonly weight: readonly number[]
  readonly attributes?: Readonly<Record<string, AttributeInput>>
  readonly bias?: readonly number[]
  /** Forms that must be able to take it. */
  readonly forms: readonly string[]
}

const conv2d = ['tucker', 'spatial', 'channel', 'cp', 'tt']
const conv1d = ['tucker', 'channel', 'cp', 'tt']
const FLAVOURS: readonly Flavour[] = [
  {
    name: 'conv 3×3',
    op: 'Conv',
    input: [2, 6, 9, 8],
    weight: [8, 6, 3, 3],
    attributes: { pads: [1, 1, 1, 1] },
    forms: conv2d,
  },
  {
    name: 'conv 3×3 with bias',
    op: 'Conv',
    input: [2, 6, 9, 8],
    weight: [5, 6, 3, 3],
    attributes: { pads: [1, 1, 1, 1] },
    bias: [5],
    forms: conv2d,
  },
  { name: 'conv without padding', op: 'Conv', input: [1, 4, 7, 9], weight: [7, 4, 3, 5], bias: [7], forms: conv2d },
  {
    name: 'conv with strides',
    op: 'Conv',
    input: [1, 6, 11, 12],
    weight: [6, 6, 3, 3],
    attributes: { strides: [2, 3], pads: [1, 1, 1, 1] },
    bias: [6],
    forms: conv2d,
  },
  {
    name: 'conv with asymmetric pads',
    op: 'Conv',
    input: [1, 5, 8, 8],
    weight: [6, 5, 3, 4],
    attributes: { pads: [0, 2, 1, 1] },
    bias: [6],
    forms: conv2d,
  },
  {
    name: 'conv with dilations',
    op: 'Conv',
    input: [1, 5, 13, 14],
    weight: [6, 5, 3, 3],
    attributes: { dilations: [2, 3], pads: [2, 3, 2, 3] },
    forms: conv2d,
  },
  {
    name: 'conv with auto_pad SAME_UPPER and stride',
    op: 'Conv',
    input: [1, 5, 10, 7],
    weight: [6, 5, 4, 3],
    attributes: { auto_pad: 'SAME_UPPER', strides: [2, 2] },
    bias: [6],
    forms: conv2d,
  },
  {
    name: 'conv with auto_pad SAME_LOWER',
    op: 'Conv',
    input: [1, 5, 10, 7],
    weight: [6, 5, 4, 2],
    attributes: { auto_pad: 'SAME_LOWER' },
    bias: [6],
    forms: conv2d,
  },
  {
    name: 'conv with auto_pad VALID',
    op: 'Conv',
    input: [1, 5, 10, 7],
    weight: [6, 5, 3, 3],
    attributes: { auto_pad: 'VALID', strides: [1, 2] },
    forms: conv2d,
  },
  {
    name: 'conv in 2 groups',
    op: 'Conv',
    input: [2, 8, 9, 9],
    weight: [6, 4, 3, 3],
    attributes: { group: 2, pads: [1, 1, 1, 1] },
    bias: [6],
    forms: conv2d,
  },
  {
    name: 'conv in 4 groups, strided and dilated',
    op: 'Conv',
    input: [1, 8, 12, 12],
    weight: [12, 2, 3, 3],
    attributes: { group: 4, strides: [2, 1], dilations: [1, 2], pads: [1, 2, 1, 2] },
    bias: [12],
    forms: conv2d,
  },
  {
    name: 'depthwise conv',
    op: 'Conv',
    input: [1, 6, 9, 9],
    weight: [6, 1, 3, 3],
    attributes: { group: 6, pads: [1, 1, 1, 1] },
    bias: [6],
    forms: ['spatial'],
  },
  {
    name: 'conv with a single input channel',
    op: 'Conv',
    input: [1, 1, 9, 9],
    weight: [8, 1, 5, 5],
    bias: [8],
    forms: ['spatial'],
  },
  { name: 'pointwise conv', op: 'Conv', input: [2, 7, 5, 5], weight: [9, 7, 1, 1], bias: [9], forms: ['channel'] },
  {
    name: 'pointwise conv with stride and pads',
    op: 'Conv',
    input: [2, 7, 6, 5],
    weight: [4, 7, 1, 1],
    attributes: { strides: [2, 2], pads: [1, 0, 0, 1] },
    bias: [4],
    forms: ['channel'],
  },
  {
    name: 'pointwise conv in groups',
    op: 'Conv',
    input: [2, 8, 5, 5],
    weight: [12, 4, 1, 1],
    attributes: { group: 2 },
    forms: ['channel'],
  },
  {
    name: 'conv 1×5',
    op: 'Conv',
    input: [1, 6, 7, 9],
    weight: [8, 6, 1, 5],
    attributes: { pads: [0, 2, 0, 2] },
    bias: [8],
    forms: conv1d,
  },
  {
    name: 'conv 7×7 stem',
    op: 'Conv',
    input: [1, 3, 20, 20],
    weight: [16, 3, 7, 7],
    attributes: { strides: [2, 2], pads: [3, 3, 3, 3] },
    bias: [16],
    forms: conv2d,
  },
  {
    name: 'conv 1-D',
    op: 'Conv',
    input: [2, 6, 15],
    weight: [8, 6, 3],
    attributes: { strides: [2], dilations: [2], pads: [1, 2] },
    bias: [8],
    forms: conv1d,
  },
  {
    name: 'conv 1-D in groups with auto_pad',
    op: 'Conv',
    input: [2, 6, 15],
    weight: [8, 3, 4],
    attributes: { group: 2, auto_pad: 'SAME_UPPER' },
    forms: conv1d,
  },
  {
    name: 'conv 3×1 with a stride along the axis that is 1 wide',
    op: 'Conv',
    input: [1, 6, 9, 8],
    weight: [8, 6, 3, 1],
    attributes: { strides: [1, 2], pads: [1, 0, 1, 0] },
    bias: [8],
    forms: conv1d,
  },
  {
    name: 'conv 3-D of which two axes are wide',
    op: 'Conv',
    input: [1, 4, 5, 6, 7],
    weight: [5, 4, 1, 3, 3],
    attributes: { strides: [2, 1, 1], pads: [0, 1, 1, 0, 1, 1] },
    bias: [5],
    forms: conv2d,
  },
  {
    name: 'conv 3-D',
    op: 'Conv',
    input: [1, 4, 5, 6, 7],
    weight: [5, 4, 3, 3, 2],
    attributes: { strides: [1, 2, 1], pads: [1, 1, 0, 1, 1, 1] },
    bias: [5],
    forms: conv2d,
  },
  {
    name: 'conv 3-D in groups',
    op: 'Conv',
    input: [1, 4, 5, 6, 7],
    weight: [6, 2, 2, 3, 3],
    attributes: { group: 2, dilations: [2, 1, 1] },
    forms: conv2d,
  },
  { name: 'transposed conv', op: 'ConvTranspose', input: [1, 6, 5, 6], weight: [6, 7, 3, 3], bias: [7], forms: conv2d },
  {
    name: 'transposed conv 4×4 stride 2',
    op: 'ConvTranspose',
    input: [2, 6, 5, 6],
    weight: [6, 4, 4, 4],
    attributes: { strides: [2, 2], pads: [1, 1, 1, 1] },
    bias: [4],
    forms: conv2d,
  },
  {
    name: 'transposed conv with output padding',
    op: 'ConvTranspose',
    input: [1, 6, 5, 6],
    weight: [6, 5, 3, 3],
    attributes: { strides: [2, 3], pads: [1, 1, 1, 1], output_padding: [1, 2] },
    forms: conv2d,
  },
  {
    name: 'transposed conv with output shape',
    op: 'ConvTranspose',
    input: [1, 6, 5, 6],
    weight: [6, 5, 3, 3],
    attributes: { strides: [2, 2], output_shape: [10, 12] },
    bias: [5],
    forms: ['tucker', 'channel', 'cp'],
  },
  {
    name: 'transposed conv with dilations and asymmetric pads',
    op: 'ConvTranspose',
    input: [1, 4, 6, 6],
    weight: [4, 5, 3, 2],
    attributes: { dilations: [2, 3], pads: [0, 1, 1, 0] },
    bias: [5],
    forms: conv2d,
  },
  {
    name: 'transposed conv with auto_pad',
    op: 'ConvTranspose',
    input: [1, 4, 6, 6],
    weight: [4, 5, 3, 4],
    attributes: { auto_pad: 'SAME_UPPER', strides: [2, 2] },
    bias: [5],
    forms: conv2d,
  },
  {
    name: 'transposed conv in groups',
    op: 'ConvTranspose',
    input: [1, 8, 5, 5],
    weight: [8, 3, 3, 3],
    attributes: { group: 2, strides: [2, 2] },
    bias: [6],
    forms: conv2d,
  },
  {
    name: 'transposed conv 1-D',
    op: 'ConvTranspose',
    input: [1, 8, 9],
    weight: [8, 5, 4],
    attributes: { strides: [2] },
    bias: [5],
    forms: conv1d,
  },
  {
    name: 'transposed conv 3-D',
    op: 'ConvTranspose',
    input: [1, 4, 3, 4, 3],
    weight: [4, 5, 2, 3, 2],
    attributes: { strides: [2, 1, 2] },
    bias: [5],
    forms: conv2d,
  },
  { name: 'Gemm', op: 'Gemm', input: [3, 8], weight: [8, 6], bias: [6], forms: ['svd', 'tt'] },
  {
    name: 'Gemm with transB',
    op: 'Gemm',
    input: [3, 8],
    weight: [10, 8],
    attributes: { transB: 1 },
    bias: [10],
    forms: ['svd', 'tt'],
  },
  {
    name: 'Gemm with transA, alpha and beta',
    op: 'Gemm',
    input: [8, 3],
    weight: [8, 6],
    attributes: { transA: 1, alpha: float(0.5), beta: float(2) },
    bias: [1, 6],
    forms: ['svd', 'tt'],
  },
  { name: 'Gemm without bias', op: 'Gemm', input: [3, 8], weight: [8, 6], forms: ['svd', 'tt'] },
  {
    name: 'Gemm whose bias is a column, with beta',
    op: 'Gemm',
    input: [3, 8],
    weight: [8, 6],
    attributes: { beta: float(0.5) },
    bias: [3, 1],
    forms: ['svd', 'tt'],
  },
  { name: 'Gemm of three cores', op: 'Gemm', input: [3, 16], weight: [16, 24], bias: [24], forms: ['svd', 'tt'] },
  { name: 'Gemm of prime channels', op: 'Gemm', input: [3, 7], weight: [7, 5], bias: [5], forms: ['svd'] },
  { name: 'MatMul', op: 'MatMul', input: [4, 8], weight: [8, 12], forms: ['svd', 'tt'] },
  { name: 'MatMul of a vector', op: 'MatMul', input: [8], weight: [8, 12], forms: ['svd', 'tt'] },
  { name: 'MatMul on a sequence', op: 'MatMul', input: [2, 5, 8], weight: [8, 6], forms: ['svd', 'tt'] },
]

function randomTensor(seed: number, shape: readonly number[]): Tensor {
  const random = createRandom(seed)
  return Tensor.of(
    Float32Array.from({ length: sizeOf(shape) }, () => random.normal()),
    shape,
  )
}

function build(flavour: Flavour): Model {
  const b = new GraphBuilder()
  const inputs = [b.input('x', 'float32', flavour.input), b.constant(randomTensor(1, flavour.weight), 'layer.weight')]
  if (flavour.bias) inputs.push(b.constant(randomTensor(2, flavour.bias), 'layer.bias'))
  b.output(b.op(flavour.op, inputs, flavour.attributes ?? {}, 'y'), 'float32')
  b.graph.nodes[0]!.name = 'layer'
  return b.model()
}

async function run(model: Model, x: Tensor): Promise<Float32Array> {
  const executable = await evaluator.load(model)
  const { y } = await executable.run({ x })
  await executable.release()
  return y!.data as Float32Array
}

function relativeError(actual: Float32Array, expected: Float32Array): number {
  expect(actual.length).toBe(expected.length)
  let difference = 0
  let norm = 0
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2
    norm += expected[i]! ** 2
  }
  return Math.sqrt(difference / norm)
}

let cases = 0
describe.each(FLAVOURS)('$name', (flavour) => {
  const model = build(flavour)

  test('keeps its function at full rank in every form that takes it, and says why the others do not', async () => {
    const shapes = await observeShapes(evaluator, model)
    const [site] = findSites(model, shapes).sites
    const x = randomTensor(3, flavour.input)
    const expected = await run(model, x)
    for (const form of FORM_NAMES) {
      const variants = variantsOf(form, site!)
      if (typeof variants === 'string') {
        expect(flavour.forms, `${form}: ${variants}`).not.toContain(form)
        expect(variants).toMatch(/^[A-Z].*\.$/s)
        continue
      }
      expect(flavour.forms).toContain(form)
      for (const variant of variants) {
        cases++
        const cost = siteCost(site!)
        const plan: LowRankPlan = {
          method: 'low-rank',
          version: 1,
          model: modelHash(model),
          seed: 0,
          steps: [
            {
              site: 'layer',
              op: flavour.op,
              form,
              variant: variant.variant,
              ranks: variant.fullRanks,
              parameters: { before: cost.parameters, after: 0 },
              macs: { before: cost.macs, after: 0 },
              estimatedError: null,
              dataAware: false,
            },
          ],
          skips: [],
          warnings: [],
        }
        const applied = await applyLowRank(model, plan, { matrices })
        const weights = [...applied.model.graph.initializers.values()].filter(({ dtype }) => dtype === 'float32')
        const stages = variant.stages(variant.fullRanks)
        expect(weights.length - (flavour.bias ? 1 : 0)).toBeGreaterThanOrEqual(stages.length)
        expect(applied.outcomes[0]!.weights.map(({ role }) => role)).toEqual(stages.map(({ role }) => role))
        if (site!.kind !== 'linear') expect(applied.model.graph.nodes.length).toBe(stages.length)
        expect(applied.model.graph.initializers.has('layer.weight')).toBe(false)
        expect(applied.outcomes[0]!.relativeError).toBeLessThan(1e-5)
        expect(relativeError(await run(applied.model, x), expected), `${form} ${variant.variant}`).toBeLessThan(1e-5)
        const counted = modelCost(applied.model, await observeShapes(evaluator, applied.model))
        const planned = chainCost(site!, stages)
        expect(counted.macs, `${form} ${variant.variant}`).toBe(planned.macs)
        expect(counted.parameters - sizeOf(flavour.bias ?? [0])).toBe(planned.parameters)
      }
    }
  })
})

test.each(FORM_NAMES.filter((form) => form !== 'svd'))(
  'layers that share a weight keep their functions under %s',
  async (form) => {
    const b = new GraphBuilder()
    const weight = b.constant(randomTensor(1, [6, 6, 3, 3]), 'w')
    const x = b.input('x', 'float32', [1, 6, 9, 9])
    const first = b.op('Conv', [x, weight], { pads: [1, 1, 1, 1] })
    b.output(b.op('Conv', [first, weight, b.constant(randomTensor(2, [6]))], { strides: [2, 1] }, 'y'), 'float32')
    const [one, two] = b.graph.nodes
    one!.name = 'one'
    two!.name = 'two'
    const model = b.model()
    const data = randomTensor(3, [1, 6, 9, 9])
    const expected = await run(model, data)
    for (const variant of variantsOf(form, findSites(model).sites[0]!) as FormVariant[]) {
      const steps = ['one', 'two'].map((site): LowRankPlan['steps'][number] => ({
        site,
        op: 'Conv',
        form,
        variant: variant.variant,
        ranks: variant.fullRanks,
        parameters: { before: 0, after: 0 },
        macs: { before: null, after: null },
        estimatedError: null,
        dataAware: false,
      }))
      const hash = modelHash(model)
      const plan: LowRankPlan = { method: 'low-rank', version: 1, model: hash, seed: 0, steps, skips: [], warnings: [] }
      const applied = await applyLowRank(model, plan, { matrices })
      expect(applied.outcomes[1]!.weights).toEqual(applied.outcomes[0]!.weights)
      expect(relativeError(await run(applied.model, data), expected), variant.variant).toBeLessThan(1e-5)
    }
  },
)

afterAll(() => {
  expect(cases).toBeGreaterThan(180)
})
