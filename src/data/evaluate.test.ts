import { describe, expect, it } from 'vitest'
import { createGraph, createModel, type Evaluator, tensorType } from '../graph/index.ts'
import { fromNumbers, type Tensor, toFloat32 } from '../tensor/index.ts'
import type { Dataset } from './dataset.ts'
import { evaluateModel } from './evaluate.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import { tensorDataset } from './rows-dataset.ts'

const scores = (rows: readonly (readonly number[])[], shape?: readonly number[]): Tensor =>
  fromNumbers(Float32Array.from(rows.flat()), shape ?? [rows.length, rows[0]!.length], 'float32')

function measure(rows: readonly (readonly number[])[], labels: readonly number[], shape?: readonly number[]): Metrics {
  const metrics = createMetrics('scores')
  metrics.add(scores(rows, shape), Int32Array.from(labels))
  return metrics.result()
}

describe('createMetrics', () => {
  const ascending = [0, 1, 2, 3, 4, 5, 6]

  it('counts top-1 and top-5', () => {
    const { top1, top5, samples } = measure([ascending, ascending, ascending, ascending], [6, 5, 2, 1])
    expect([top1, top5, samples]).toEqual([0.25, 0.75, 4])
  })

  it('gives ties to the lower class index', () => {
    expect(measure([[1, 1, 1]], [0]).top1).toBe(1)
    expect(measure([[1, 1, 1]], [2]).top1).toBe(0)
  })

  it('has no top-5 for five classes or fewer', () => {
    expect(measure([[1, 2, 3, 4, 5]], [0]).top5).toBeNull()
    expect(measure([[1, 2, 3, 4, 5, 6]], [0]).top5).toBe(0)
  })

  it('takes logits by their softmax, also large ones', () => {
    expect(measure([[1, 2, 3]], [0]).loss).toBeCloseTo(Math.log(1 + Math.E + Math.E ** 2), 6)
    expect(measure([[1000, 0]], [1]).loss).toBeCloseTo(1000, 6)
    expect(measure([[-1e30, 0]], [1]).loss).toBe(0)
  })

  it('takes probabilities as they are, and decides over all samples', () => {
    expect(measure([[0.25, 0.75]], [0]).loss).toBeCloseTo(Math.log(4), 6)
    expect(measure([[0, 1]], [0]).loss).toBeCloseTo(-Math.log(1e-7), 6)
    const mixed = measure(
      [
        [0.25, 0.75],
        [3, 0],
      ],
      [0, 0],
    ).loss
    expect(mixed).toBeCloseTo((Math.log(1 + Math.exp(0.5)) + Math.log(1 + Math.exp(-3))) / 2, 6)
  })

  it('accepts further axes of extent 1, and one row without batch axis', () => {
    expect(
      measure(
        [
          [1, 2],
          [3, 0],
        ],
        [1, 0],
        [2, 2, 1, 1],
      ).top1,
    ).toBe(1)
    expect(
      measure(
        [
          [1, 2],
          [3, 0],
        ],
        [1, 0],
        [2, 1, 1, 2],
      ).top1,
    ).toBe(1)
    expect(measure([[1, 2]], [1], [2]).top1).toBe(1)
  })

  it('ignores rows beyond the labels', () => {
    expect(
      measure(
        [
          [1, 2],
          [9, 0],
        ],
        [1],
      ),
    ).toMatchObject({ top1: 1, samples: 1 })
  })

  it.each([
    [[2, 2, 2], "Output 'scores' has shape [2, 2, 2]; accuracy needs class scores [N, C] with two classes or more."],
    [[8, 1], "Output 'scores' has shape [8, 1]; accuracy needs"],
    [[8], "Output 'scores' has shape [8]; accuracy needs"],
    [[1, 8], "Output 'scores' has 1 rows for 2 samples; it has no batch axis to match them."],
  ])('refuses outputs of shape %j', (shape, message) => {
    expect(() => measure([[0, 1, 2, 3, 4, 5, 6, 7]], [0, 1], shape)).toThrow(message)
  })

  it('refuses labels that do not fit the outputs, NaN, and nothing at all', () => {
    expect(() => measure([[1, 2]], [2])).toThrow(
      "Sample 0: labels must be 0 … 1 because output 'scores' has 2 classes; got 2. The data do not belong to this model.",
    )
    expect(() => measure([[1, Number.NaN]], [0])).toThrow("Output 'scores', sample 0, class 1: the score is NaN.")
    expect(() => createMetrics().result()).toThrow('There are no samples to measure accuracy on.')
  })
})

/** A runtime whose models answer with x · [1, −1, 2 …] per class; it notes batch sizes and releases. */
function fakeEvaluator(classes: number, log: string[]): Evaluator {
  return {
    load: async () => ({
      inputNames: ['x'],
      outputNames: ['logits', 'other'],
      async run(feeds, outputs) {
        const x = toFloat32(feeds.x!)
        log.push(`run ${x.length} for ${outputs?.join()}`)
        const rows = Array.from(x, (value) =>
          Array.from({ length: classes }, (_, c) => (Math.round(value) === c ? 1 : 0)),
        )
        return { logits: scores(rows) }
      },
      release: async () => {
        log.push('release')
      },
    }),
  }
}

function model(batch: number | string): ReturnType<typeof createModel> {
  const graph = createGraph('g')
  graph.inputs.push({ name: 'x', type: tensorType('float32', [batch, 1]) })
  return createModel(graph)
}

function data(values: readonly number[], labels?: readonly number[]): Dataset {
  const tensor = fromNumbers(Float32Array.from(values), [values.length, 1], 'float32')
  return tensorDataset([tensor], labels && Int32Array.from(labels), 'toy')
}

describe('evaluateModel', () => {
  it('measures, reports progress and releases the model', async () => {
    const log: string[] = []
    const progress: string[] = []
    const result = await evaluateModel(fakeEvaluator(3, log), model('n'), data([0, 1, 2, 0, 1], [0, 1, 2, 1, 1]), {
      batch: 2,
      onProgress: ({ stage, done, total }) => progress.push(`${stage} ${done}/${total}`),
    })
    expect(result).toMatchObject({ top1: 0.8, top5: null, samples: 5, data: 'toy', preprocessFrom: 'default' })
    expect(result.milliseconds).toBeGreaterThan(0)
    expect(progress).toEqual(['evaluate 2/5', 'evaluate 4/5', 'evaluate 5/5'])
    expect(log).toEqual(['run 2 for logits', 'run 2 for logits', 'run 1 for logits', 'release'])
  })

  it('feeds a model of fixed batch that many samples and counts each once', async () => {
    const log: string[] = []
    const samples = data([0, 1, 2, 0, 1], [0, 1, 2, 1, 0])
    const result = await evaluateModel(fakeEvaluator(3, log), model(2), samples)
    expect(result).toMatchObject({ top1: 0.6, samples: 5 })
    expect(log.filter((line) => line.startsWith('run'))).toEqual(Array(3).fill('run 2 for logits'))
  })

  it('preprocesses and limits', async () => {
    const samples = data([0, 100, 200], [0, 1, 0])
    const result = await evaluateModel(fakeEvaluator(3, []), model('n'), Promise.resolve(samples), {
      preprocess: { name: 'custom', geometryFor: 'all', scale: 0.01, mean: [], std: [] },
      limit: 2,
    })
    expect(result).toMatchObject({ top1: 1, samples: 2, preprocessFrom: 'option' })
  })

  it.each([
    ['data without labels', data([1]), {}, "Dataset 'toy' has no labels; accuracy needs one class per sample."],
    ['labels beyond the classes', data([1], [7]), {}, 'labels must be 0 … 2'],
    [
      'an unknown output',
      data([1], [1]),
      { output: 'x' },
      "Output 'x' is not one of the model's outputs: 'logits', 'other'.",
    ],
  ])('refuses %s and still releases the model', async (_, samples, options, message) => {
    const log: string[] = []
    await expect(evaluateModel(fakeEvaluator(3, log), model('n'), samples, options)).rejects.toThrow(message)
    expect(log.at(-1)).toBe('release')
  })

  it('stops when cancelled', async () => {
    const controller = new AbortController()
    const pass = evaluateModel(fakeEvaluator(3, []), model('n'), data([0, 1, 2], [0, 1, 2]), {
      batch: 1,
      signal: controller.signal,
      onProgress: () => controller.abort(),
    })
    await expect(pass).rejects.toMatchObject({ code: 'ABORTED' })
  })
})
