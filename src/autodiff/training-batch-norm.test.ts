import { describe, expect, it } from 'vitest'
import { evaluator } from '../../test/support/run-model.ts'
import { randomTensor, relativeErrorOf } from '../../test/support/tensors.ts'
import { WhittleError } from '../core/index.ts'
import { observeShapes, withOutputs } from '../engine/index.ts'
import { float, GraphBuilder, type Model, type TensorMap } from '../graph/index.ts'
import { Tensor, toFloat64 } from '../tensor/index.ts'
import { gradient } from './gradient.ts'
import { lowerTrainingBatchNorm } from './lower-batch-norm.ts'
import { toTrainingBatchNorm } from './training-batch-norm.ts'

const SHAPE = [4, 3, 5, 2]
const PARAMETERS = ['w', 'scale1', 'bias1', 'scale2', 'bias2']

/**
 * Two normalisations of the same value that share all their running statistics, the constellation in which ONNX
 * Runtime's kernel corrupts one by the other; a product by `w` goes before, a mean square ends it.
 */
function network(): Model {
  const b = new GraphBuilder()
  const c = (values: number[]): Tensor => Tensor.of(Float32Array.from(values), [3])
  const x = b.op('Mul', [
    b.input('x', 'float32', SHAPE),
    b.constant(Tensor.of(Float32Array.of(1.5, -0.5, 2), [3, 1, 1]), 'w'),
  ])
  const mean = b.constant(c([0, 0, 0]), 'mean')
  const variance = b.constant(c([1, 1, 1]), 'variance')
  const normalized = [1, 2].map((at) => {
    const scale = b.constant(c([1 + at, 0.5, -at]), `scale${at}`)
    const bias = b.constant(c([0.1, at, 0.3]), `bias${at}`)
    return b.op(
      'BatchNormalization',
      [x, scale, bias, mean, variance],
      { epsilon: float(1e-3), momentum: float(0.8) },
      `y${at}`,
    )
  })
  const sum = b.op('Mul', [normalized[0]!, b.op('Sigmoid', [normalized[1]!])])
  b.op('ReduceMean', [b.op('Mul', [sum, sum])], { keepdims: 0 }, 'loss')
  b.output('loss', 'float32', [])
  return b.model(18)
}

/** The loss of {@link network} with batch statistics, in float64. */
function lossOf(x: Float64Array, parameters: Record<string, Float64Array>): number {
  const plane = 10
  const y = [1, 2].map(() => new Float64Array(x.length))
  for (let channel = 0; channel < 3; channel++) {
    const at = Array.from({ length: 4 * plane }, (_, i) => (Math.floor(i / plane) * 3 + channel) * plane + (i % plane))
    const values = at.map((i) => x[i]! * parameters.w![channel]!)
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
    for (const [k, out] of y.entries())
      for (const [j, i] of at.entries())
        out[i] =
          ((values[j]! - mean) / Math.sqrt(variance + 1e-3)) * parameters[`scale${k + 1}`]![channel]! +
          parameters[`bias${k + 1}`]![channel]!
  }
  return y[0]!.reduce((sum, value, i) => sum + (value / (1 + Math.exp(-y[1]![i]!))) ** 2, 0) / x.length
}

async function run(
  model: Model,
  feeds: TensorMap,
  outputs: readonly string[],
  optimization: 'disabled' | 'all',
): Promise<Float64Array[]> {
  const executable = await evaluator.load(withOutputs(model, outputs), { optimization })
  // Twice: what a run leaves behind must not change the next.
  await executable.run(feeds)
  const found = await executable.run(feeds)
  await executable.release()
  return outputs.map((name) => toFloat64(found[name]!))
}

const x = randomTensor(SHAPE, 5)

describe('batch normalisation for training', () => {
  for (const optimization of ['disabled', 'all'] as const)
    for (const lowered of [false, true])
      it(`gradients are those of the batch's statistics; optimization ${optimization}${lowered ? ', lowered' : ''}`, async () => {
        const model = network()
        const training = toTrainingBatchNorm(model, await observeShapes(evaluator, model))
        const result = gradient(training.model, { loss: 'loss', withRespectTo: PARAMETERS, types: training.types })
        const final = lowered ? lowerTrainingBatchNorm(result.model, training.types) : result.model
        const names = ['loss', ...PARAMETERS.map((name) => result.gradients.get(name)!)]
        const [loss, ...gradients] = await run(final, { x }, names, optimization)
        const values = Object.fromEntries(
          PARAMETERS.map((name) => [name, toFloat64(model.graph.initializers.get(name)!)]),
        )
        const data = toFloat64(x)
        expect(relativeErrorOf([lossOf(data, values)], loss!)).toBeLessThan(1e-5)
        for (const [at, name] of PARAMETERS.entries()) {
          const numeric = values[name]!.map((_, i) => {
            const moved = (by: number): number =>
              lossOf(data, { ...values, [name]: values[name]!.map((value, j) => (i === j ? value + by : value)) })
            return (moved(1e-5) - moved(-1e-5)) / 2e-5
          })
          // Normalising undoes the scale of a product before it: ε leaves a gradient by w of a thousandth.
          const allowed = name === 'w' ? 1e-3 : 1e-5
          expect([name, relativeErrorOf(numeric, gradients[at]!) < allowed]).toEqual([name, true])
        }
      })

  it('names the mean and the unbiased variance of the batch', async () => {
    const model = network()
    const { model: training, statistics } = toTrainingBatchNorm(model, await observeShapes(evaluator, model))
    expect(statistics.map(({ runningMean, runningVariance }) => [runningMean, runningVariance])).toEqual([
      ['mean', 'variance'],
      ['mean', 'variance'],
    ])
    expect(statistics.map(({ momentum }) => momentum)).toEqual([Math.fround(0.8), Math.fround(0.8)])
    const data = toFloat64(x)
    const w = [1.5, -0.5, 2]
    const columns = w.map((factor, channel) =>
      Array.from(data)
        .filter((_, i) => Math.floor(i / 10) % 3 === channel)
        .map((value) => value * factor),
    )
    const means = columns.map((values) => values.reduce((sum, value) => sum + value, 0) / values.length)
    const variances = columns.map(
      (values, c) => values.reduce((sum, value) => sum + (value - means[c]!) ** 2, 0) / (values.length - 1),
    )
    for (const { batchMean, batchVariance } of statistics) {
      const [mean, variance] = await run(training, { x }, [batchMean, batchVariance], 'all')
      expect(relativeErrorOf(means, mean!)).toBeLessThan(1e-5)
      expect(relativeErrorOf(variances, variance!)).toBeLessThan(1e-5)
    }
  })

  it('leaves frozen nodes as they are', async () => {
    const model = network()
    const types = await observeShapes(evaluator, model)
    const second = model.graph.nodes.filter(({ opType }) => opType === 'BatchNormalization')[1]!
    const { model: training, statistics } = toTrainingBatchNorm(model, types, {
      frozen: ({ name }) => name === second.name,
    })
    expect(statistics).toHaveLength(1)
    const kept = training.graph.nodes.find(({ name }) => name === second.name)!
    expect([kept.inputs, kept.outputs]).toEqual([second.inputs, second.outputs])
    expect(model.graph.nodes.every(({ attributes }) => !attributes.has('training_mode'))).toBe(true)
  })

  it('keeps the running statistics of a node that was in training mode', async () => {
    const b = new GraphBuilder()
    const c = (...values: number[]): string => b.constant(Tensor.of(Float32Array.from(values), [2]))
    const inputs = [b.input('x', 'float32', [3, 2]), c(1, 2), c(0, 1), c(10, 20), c(2, 4)]
    b.ops('BatchNormalization', inputs, { training_mode: 1, momentum: float(0.75) }, ['y', 'mean', 'variance'])
    for (const name of ['y', 'mean', 'variance']) b.output(name, 'float32')
    const model = b.model(18)
    const { model: training } = toTrainingBatchNorm(model, await observeShapes(evaluator, model))
    const feeds = { x: Tensor.of(Float32Array.of(1, 2, 3, 4, 8, 0), [3, 2]) }
    const [mean, variance] = await run(training, feeds, ['mean', 'variance'], 'all')
    expect(relativeErrorOf([8.5, 15.5], mean!)).toBeLessThan(1e-6)
    // The operator's own running variance is of the biased one: 26/3 and 8/3.
    expect(relativeErrorOf([1.5 + 26 / 12, 3 + 8 / 12], variance!)).toBeLessThan(1e-6)
  })

  it('refuses a batch with one element per channel', async () => {
    const b = new GraphBuilder()
    const c = (...values: number[]): string => b.constant(Tensor.of(Float32Array.from(values), [2]))
    b.op('BatchNormalization', [b.input('x', 'float32', [1, 2]), c(1, 2), c(0, 1), c(0, 0), c(1, 1)], {}, 'y')
    b.output('y', 'float32')
    const model = b.model(18)
    const types = await observeShapes(evaluator, model)
    expect(() => toTrainingBatchNorm(model, types)).toThrow(WhittleError)
    expect(() => toTrainingBatchNorm(model, types)).toThrow(/more than one element per channel; its input is \[1, 2\]/)
  })
})
