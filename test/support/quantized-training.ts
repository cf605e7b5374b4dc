/** A small network with everything that quantization-aware training meets, data for it, and what it starts from. */
import { planQuantize, type QuantizePlanOptions, type Range } from '../../src/compress/index.ts'
import { createRandom } from '../../src/core/index.ts'
import { type Dataset, tensorDataset } from '../../src/data/index.ts'
import { observeShapes } from '../../src/engine/index.ts'
import { cloneModel, foldBatchNorm, GraphBuilder, type Model, runPasses } from '../../src/graph/index.ts'
import { initialize } from '../../src/networks/index.ts'
import type { QuantizedStart } from '../../src/retrain/index.ts'
import { Tensor, toFloat32 } from '../../src/tensor/index.ts'
import { evaluator, runModel } from './run-model.ts'

/** Conv → norm → Relu → (Conv → norm) + → Relu → MaxPool → Conv → Relu6 → mean → Gemm: `[N, 2, 8, 8]` → `[N, 4]` */
export function residualNetwork(channels = 8): Model {
  const b = new GraphBuilder('residual')
  const filled = (name: string, shape: readonly number[], value: number): string =>
    b.constant(Tensor.of(new Float32Array(shape.reduce((a, x) => a * x, 1)).fill(value), shape), name)
  const norm = (x: string, name: string): string => {
    const parameters = [1, 0, 0, 1].map((value, at) => filled(`${name}.${at}`, [channels], value))
    return b.op('BatchNormalization', [x, ...parameters], {}, `${name}.output`)
  }
  const conv = (x: string, name: string, from: number): string =>
    b.op('Conv', [x, filled(`${name}.weight`, [channels, from, 3, 3], 0)], { pads: [1, 1, 1, 1] }, `${name}.output`)
  const x = b.input('input', 'float32', ['batch', 2, 8, 8])
  const stem = b.op('Relu', [norm(conv(x, 'stem', 2), 'stem.norm')], {}, 'stem.relu')
  const body = norm(conv(stem, 'body', channels), 'body.norm')
  const joined = b.op('Relu', [b.op('Add', [body, stem], {}, 'sum')], {}, 'joined')
  const pooled = b.op('MaxPool', [joined], { kernel_shape: [2, 2], strides: [2, 2] }, 'pooled')
  const [zero, six] = [b.constant(Tensor.of(Float32Array.of(0), [])), b.constant(Tensor.of(Float32Array.of(6), []))]
  const last = b.op('Clip', [conv(pooled, 'last', channels), zero, six], {}, 'clipped')
  const mean = b.op('Flatten', [b.op('GlobalAveragePool', [last])])
  b.op('Gemm', [mean, filled('head.weight', [4, channels], 0), filled('head.bias', [4], 0)], { transB: 1 }, 'logits')
  b.output('logits', 'float32', ['batch', 4])
  const model = b.model(13)
  const names = 'stem stem.norm stem.act body body.norm add act pool last clip mean flatten head'.split(' ')
  for (const [at, name] of names.entries()) model.graph.nodes[at]!.name = name
  return initialize(model, { seed: 3 })
}

/** Two planes of rows, columns and diagonals of either direction, with noise. */
export function patterns(count: number, seed: number, noise = 0.6): Dataset {
  const random = createRandom(seed)
  const labels = Int32Array.from({ length: count }, (_, i) => i % 4)
  const values = new Float32Array(count * 128)
  for (const [n, label] of labels.entries()) {
    const phase = random.integer(4)
    for (let i = 0; i < 128; i++) {
      const [row, column] = [Math.floor((i % 64) / 8), i % 8]
      const place = [row, column, row + column, row - column + 8][label]! + phase
      values[n * 128 + i] = (place % 4 < 2 ? 1 : -0.5) * (i < 64 ? 1 : 0.5) + noise * random.normal()
    }
  }
  return tensorDataset([Tensor.of(values, [count, 2, 8, 8])], labels, 'patterns')
}

/** All samples of a dataset as one tensor. */
export async function samplesOf(data: Dataset, count = data.size): Promise<Tensor> {
  return (await data.read!(Int32Array.from({ length: count }, (_, i) => i))).inputs[0]!
}

/** Least and greatest number of every value on some samples. */
async function rangesOf(model: Model, input: Tensor): Promise<Map<string, Range>> {
  const clone = cloneModel(model)
  const values = clone.graph.nodes.flatMap((node) => node.outputs)
  clone.graph.outputs = values.map((name) => ({ name, type: undefined }))
  const name = clone.graph.inputs[0]!.name
  const results = { ...(await runModel(clone, { [name]: input })), [name]: input }
  const ranges = new Map<string, Range>()
  for (const [value, tensor] of Object.entries(results)) {
    const data = toFloat32(tensor)
    ranges.set(value, { min: data.reduce((a, b) => Math.min(a, b)), max: data.reduce((a, b) => Math.max(a, b)) })
  }
  return ranges
}

/** What quantization-aware training of a model starts from: ranges of least and greatest numbers. */
export async function startOf(
  model: Model,
  samples: Tensor,
  options: QuantizePlanOptions = {},
): Promise<QuantizedStart> {
  const planned = (await runPasses(model, [foldBatchNorm])).model
  const shapes = await observeShapes(evaluator, planned)
  const plan = planQuantize(planned, options, { shapes, ranges: await rangesOf(planned, samples) })
  return { model, planned, plan, shapes }
}
