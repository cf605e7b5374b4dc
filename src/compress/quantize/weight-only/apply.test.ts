import { describe, expect, it } from 'vitest'
import { evaluator, outputError, runModel } from '../../../../test/support/run-model.ts'
import { randomTensor, relativeError } from '../../../../test/support/tensors.ts'
import { observeShapes } from '../../../engine/index.ts'
import { checkModel, cloneModel, GraphBuilder, type Model } from '../../../graph/index.ts'
import { Tensor, toFloat32 } from '../../../tensor/index.ts'
import { applyWeightOnly } from './apply.ts'
import { fromBnb4, toBnb4 } from './bnb4-blocks.ts'
import { parseWeightFormats, WEIGHT_FORMATS, weightFormatFile } from './dtypes.ts'
import { fromFourBitBlocks, toFourBitBlocks } from './four-bit-blocks.ts'
import { planWeightOnly, type WeightOnlyOptions } from './plan.ts'

const [ROWS, WIDTH, OUT] = [40, 72, 24]

/** ids → Gather(table) → MatMul(w) → Gemm(v, transB, bias) → y; `w` feeds a second MatMul too. */
function network(): Model {
  const b = new GraphBuilder()
  const table = b.constant(randomTensor([ROWS, WIDTH], 1), 'table')
  const x = b.op('Gather', [table, b.input('ids', 'int64', [5])], {}, 'tokens')
  const w = b.constant(randomTensor([WIDTH, OUT], 2), 'w')
  const first = b.op('MatMul', [x, w], {}, 'first')
  const again = b.op('MatMul', [x, w], {}, 'again')
  const both = b.op('Add', [first, again], {}, 'both')
  const gemm = [both, b.constant(randomTensor([16, OUT], 3), 'v'), b.constant(randomTensor([16], 4), 'bias')]
  b.output(b.op('Gemm', gemm, { transB: 1 }, 'y'), 'float32')
  return b.model()
}

const feeds = { ids: Tensor.int64([3, 1, 39, 0, 7]) }

async function converted(model: Model, options: WeightOnlyOptions): Promise<Model> {
  const types = await observeShapes(evaluator, model, { feeds })
  const plan = planWeightOnly(model, options, { types })
  const again = JSON.parse(JSON.stringify(plan)) as typeof plan
  const { model: result } = applyWeightOnly(model, again, types)
  expect(checkModel(result)).toEqual([])
  return result
}

/** The network with other weights, by name. */
function withWeights(change: (name: string, tensor: Tensor) => Tensor): Model {
  const model = cloneModel(network())
  for (const name of ['w', 'v']) model.graph.initializers.set(name, change(name, model.graph.initializers.get(name)!))
  return model
}

describe('applyWeightOnly', () => {
  it.each([
    { symmetric: true, fourBit: 'matmul-nbits' },
    { symmetric: false, fourBit: 'matmul-nbits' },
    { symmetric: true, fourBit: 'qdq' },
    { symmetric: false, fourBit: 'qdq' },
  ] as const)('computes with what 4-bit blocks stand for ($fourBit, symmetric: $symmetric)', async (options) => {
    // 72 inputs are two blocks of 32 and a quarter of a third, 24 less than one.
    const four = await converted(network(), { format: 'q4', block: 32, ...options })
    const expected = withWeights((name, tensor) => {
      const outputFirst = name === 'v'
      const [inputs, outputs] = outputFirst ? [OUT, 16] : [WIDTH, OUT]
      const matrix = toFourBitBlocks(toFloat32(tensor), inputs, outputs, { block: 32, outputFirst, ...options })
      return Tensor.of(fromFourBitBlocks(matrix, outputFirst), tensor.shape)
    })
    // Left to itself, ONNX Runtime makes MatMulNBits with int8 activations of blocks behind DequantizeLinear.
    const executable = await evaluator.load(four, { optimization: 'disabled' })
    const { y } = await executable.run(feeds)
    await executable.release()
    expect(relativeError((await runModel(expected, feeds)).y!, y!)).toBeLessThan(1e-5)
    const error = await outputError(network(), four, feeds)
    expect(error).toBeLessThan(0.2)
    expect(error).toBeGreaterThan(0.01)
    expect(four.opsets.get('')).toBe(options.fourBit === 'qdq' ? 21 : 17)
  })

  it.each(['nf4', 'fp4'] as const)('computes with the codes of %s', async (codes) => {
    const model = await converted(network(), { format: 'bnb4', codes })
    const expected = withWeights((name, tensor) => {
      const outputFirst = name === 'v'
      const [inputs, outputs] = outputFirst ? [OUT, 16] : [WIDTH, OUT]
      const matrix = toBnb4(toFloat32(tensor), inputs, outputs, { block: 64, type: codes, outputFirst })
      return Tensor.of(fromBnb4(matrix, outputFirst), tensor.shape)
    })
    expect(await outputError(expected, model, feeds)).toBeLessThan(1e-5)
  })

  it.each([
    { format: 'int8', perChannel: true },
    { format: 'uint8', perChannel: true },
    { format: 'q8', perChannel: false },
    { format: 'int8', bits: 7 },
  ] as const)('computes on 8-bit integers: %o', async (options) => {
    const model = await converted(network(), options)
    const ops = model.graph.nodes.map(({ opType }) => opType)
    expect(ops.filter((op) => op === 'MatMulInteger')).toHaveLength(3)
    // Both layers that read the tokens share their integers.
    expect(ops.filter((op) => op === 'DynamicQuantizeLinear')).toHaveLength(2)
    expect(model.graph.initializers.get('w_quantized')!.dtype).toBe(options.format === 'uint8' ? 'uint8' : 'int8')
    const error = await outputError(network(), model, feeds)
    expect(error).toBeLessThan('bits' in options ? 0.04 : 0.03)
    expect(error).toBeGreaterThan(1e-4)
  })

  it('stores a weight that two layers read once, and drops the original', async () => {
    for (const format of ['q4', 'int8', 'bnb4'] as const) {
      const { initializers } = (await converted(network(), { format })).graph
      expect(
        [...initializers.keys()].filter((name) => /^w(_|$)/.test(name) && !/scale|zero|absmax/.test(name)),
      ).toHaveLength(1)
      expect(initializers.has('w')).toBe(false)
    }
  })

  it.each([true, false])('reads embeddings from 4-bit blocks (symmetric: %s)', async (symmetric) => {
    const options = { format: 'q4', symmetric, embeddings: true, only: ['*Gather*'] } as const
    const model = await converted(network(), options)
    expect(model.graph.nodes[0]!.opType).toBe('GatherBlockQuantized')
    const table = network().graph.initializers.get('table')!
    const matrix = toFourBitBlocks(toFloat32(table), WIDTH, ROWS, { block: 32, symmetric, outputFirst: true })
    const restored = Tensor.of(fromFourBitBlocks(matrix, true), [ROWS, WIDTH])
    const expected = cloneModel(network())
    expected.graph.initializers.set('table', restored)
    expect(await outputError(expected, model, feeds)).toBeLessThan(1e-5)
  })

  it('halves what 4 bits leave with q4f16', async () => {
    const model = await converted(network(), { format: 'q4f16' })
    const types = new Set([...model.graph.initializers.values()].map(({ dtype }) => dtype))
    expect([...types].sort()).toEqual(['float16', 'uint8'])
    const four = await converted(network(), { format: 'q4' })
    const [a, b] = [await runModel(four, feeds), await runModel(model, feeds)]
    expect(b.y!.dtype).toBe('float32')
    expect(relativeError(a.y!, b.y!)).toBeLessThan(3e-3)
  })

  it('leaves convolutions and what was not selected, with the reason', () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [1, 3, 4, 4])
    b.output(b.op('Conv', [x, b.constant(randomTensor([8, 3, 3, 3], 1), 'k')], {}, 'y'), 'float32')
    const plan = planWeightOnly(b.model(), { format: 'q8' })
    expect(plan.steps).toEqual([])
    expect(plan.skips[0]!.reason).toMatch(/^Operator Conv keeps its weight/)
    const other = planWeightOnly(network(), { format: 'q4', skip: ['*Gemm*'] })
    expect(other.skips).toEqual(
      [{ name: 'node_Gemm_10', reason: 'It was not selected.' }].map((skip) => ({
        ...skip,
        name: other.skips[0]!.name,
      })),
    )
    expect(other.steps.map(({ op }) => op)).toEqual(['MatMul', 'MatMul'])
  })

  it('refuses options of other formats, and plans of other models', () => {
    expect(() => planWeightOnly(network(), { format: 'q8', block: 32 })).toThrow(
      'Option block: belongs to q4, q4f16, bnb4; the format is q8.',
    )
    expect(() => planWeightOnly(network(), { format: 'q4', fourBit: 'qdq', accuracyLevel: 4 })).toThrow(
      'belongs to MatMulNBits',
    )
    const plan = planWeightOnly(network(), { format: 'q4' })
    const other = withWeights((_, tensor) => Tensor.of(new Float32Array(tensor.size), tensor.shape))
    expect(() => applyWeightOnly(other, plan)).toThrow('The plan was made for another model')
    const twice = { ...plan, steps: [plan.steps[0]!, plan.steps[0]!] }
    expect(() => applyWeightOnly(network(), twice)).toThrow('twice')
  })
})

describe('weight formats', () => {
  it('have the file names of transformers.js', () => {
    expect(WEIGHT_FORMATS.map((format) => weightFormatFile('onnx/model.onnx', format))).toEqual([
      'onnx/model.onnx',
      'onnx/model_fp16.onnx',
      'onnx/model_quantized.onnx',
      'onnx/model_int8.onnx',
      'onnx/model_uint8.onnx',
      'onnx/model_q4.onnx',
      'onnx/model_q4f16.onnx',
      'onnx/model_bnb4.onnx',
    ])
  })

  it('are read from a list', () => {
    expect(parseWeightFormats('fp16, q8,q4')).toEqual(['fp16', 'q8', 'q4'])
    expect(() => parseWeightFormats('fp16,q5')).toThrow("Weight format 'q5': must be one of fp32, fp16, q8")
    expect(() => parseWeightFormats('q4,q4')).toThrow("Weight format 'q4': is named twice.")
  })
})
