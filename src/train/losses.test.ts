import { describe, expect, it } from 'vitest'
import { evaluator, runModel } from '../../test/support/run-model.ts'
import { randomTensor64, relativeErrorOf } from '../../test/support/tensors.ts'
import { Emitter, gradient } from '../autodiff/index.ts'
import { observeShapes } from '../engine/index.ts'
import { createGraph, createModel, type Model, tensorType } from '../graph/index.ts'
import { Tensor, toFloat64 } from '../tensor/index.ts'
import { checkLoss, crossEntropy, distillation, featureDistance, meanSquaredError } from './losses.ts'

const SHAPE = [4, 5]

/** A loss of `x` against `y` in float64, as a model. */
function lossModel(build: (emit: Emitter) => string, shape: readonly number[] = SHAPE): Model {
  const graph = createGraph('loss')
  graph.inputs = ['x', 'y'].map((name) => ({ name, type: tensorType('float64', shape) }))
  const emit = new Emitter(graph, new Map(['x', 'y'].map((name) => [name, { dtype: 'float64', shape }])))
  graph.outputs = [{ name: build(emit), type: undefined }]
  return createModel(graph, 18)
}

const valueOfLoss = async (model: Model, x: Tensor, y: Tensor): Promise<number> =>
  toFloat64((await runModel(model, { x, y }))[model.graph.outputs[0]!.name]!)[0]!

/** Relative error of the gradient with respect to `x` against central differences. */
async function gradientError(model: Model, x: Tensor, y: Tensor): Promise<number> {
  const types = await observeShapes(evaluator, model)
  const { model: training, gradients } = gradient(model, {
    loss: model.graph.outputs[0]!.name,
    withRespectTo: ['x'],
    types,
  })
  const name = gradients.get('x')!
  training.graph.outputs = [{ name, type: undefined }]
  const actual = toFloat64((await runModel(training, { x, y }))[name]!)
  const h = 1e-6
  const expected: number[] = []
  for (let i = 0; i < x.size; i++) {
    const shifted = (by: number): Tensor =>
      Tensor.of(
        toFloat64(x).map((value, at) => (at === i ? value + by : value)),
        x.shape,
      )
    expected.push(((await valueOfLoss(model, shifted(h), y)) - (await valueOfLoss(model, shifted(-h), y))) / (2 * h))
  }
  expect(Math.hypot(...expected)).toBeGreaterThan(1e-3)
  return relativeErrorOf(expected, actual)
}

const softmax = (row: readonly number[]): number[] => {
  const sum = row.reduce((total, value) => total + Math.exp(value), 0)
  return row.map((value) => Math.exp(value) / sum)
}
const rows = (tensor: Tensor): number[][] => {
  const values = [...toFloat64(tensor)]
  return Array.from({ length: tensor.shape[0]! }, (_, i) => values.slice(i * 5, i * 5 + 5))
}

const x = randomTensor64(SHAPE, 1)
const y = randomTensor64(SHAPE, 2)
const hot = Tensor.of(
  Float64Array.from({ length: 20 }, (_, i) => (i % 5 === [3, 0, 4, 4][Math.floor(i / 5)] ? 1 : 0)),
  SHAPE,
)
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length

describe('losses', () => {
  const labels = [3, 0, 4, 4]
  const cases: readonly (readonly [string, (emit: Emitter) => string, Tensor, number])[] = [
    [
      'cross entropy',
      (emit) => crossEntropy(emit, 'x', 'y'),
      hot,
      mean(rows(x).map((row, n) => -Math.log(softmax(row)[labels[n]!]!))),
    ],
    [
      // F.cross_entropy(label_smoothing=0.2): (1 − ε) · own class + ε / C · all classes
      'cross entropy with label smoothing',
      (emit) => crossEntropy(emit, 'x', 'y', 0.2),
      hot,
      mean(
        rows(x).map((row, n) => {
          const logs = softmax(row).map(Math.log)
          return -(0.8 * logs[labels[n]!]! + (0.2 / 5) * logs.reduce((a, b) => a + b, 0))
        }),
      ),
    ],
    [
      'mean squared error',
      (emit) => meanSquaredError(emit, 'x', 'y'),
      y,
      mean([...toFloat64(x)].map((value, i) => (value - toFloat64(y)[i]!) ** 2)),
    ],
    [
      // F.kl_div(log_softmax(x / T), softmax(y / T), reduction='batchmean') · T²
      'distillation at a temperature',
      (emit) => distillation(emit, 'x', 'y', 3),
      y,
      9 *
        mean(
          rows(x).map((row, n) => {
            const own = softmax(row.map((value) => value / 3))
            const wanted = softmax(rows(y)[n]!.map((value) => value / 3))
            return wanted.reduce((sum, p, c) => sum + p * (Math.log(p) - Math.log(own[c]!)), 0)
          }),
        ),
    ],
    [
      'distance of features',
      (emit) => featureDistance(emit, 'x', 'y'),
      y,
      mean([...toFloat64(x)].map((value, i) => (value - toFloat64(y)[i]!) ** 2)) /
        mean([...toFloat64(y)].map((value) => value ** 2)),
    ],
  ]

  it.each(cases)('%s has its formula’s value', async (_, build, other, expected) => {
    expect(Math.abs((await valueOfLoss(lossModel(build), x, other)) / expected - 1)).toBeLessThan(1e-11)
  })

  it.each(cases)('%s has the gradient of finite differences', async (_, build, other) => {
    expect(await gradientError(lossModel(build), x, other)).toBeLessThan(1e-7)
  })

  it('refuses terms that make no sense', () => {
    expect(() => checkLoss([])).toThrow('Loss: there must be at least one term.')
    expect(() => checkLoss([{ kind: 'hinge' } as never])).toThrow(
      "Loss: kind must be one of cross-entropy, mse, distillation, features; got 'hinge'.",
    )
    expect(() => checkLoss([{ kind: 'distillation', temperature: 0 }])).toThrow(
      "Loss 'distillation': temperature must be above 0; got 0.",
    )
    expect(() => checkLoss([{ kind: 'cross-entropy', labelSmoothing: 1 }])).toThrow(
      "Loss 'cross-entropy': labelSmoothing must be at least 0 and below 1; got 1.",
    )
  })
})
