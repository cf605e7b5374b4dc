import { describe, expect, it } from 'vitest'
import { evaluator } from '../../test/support/run-model.ts'
import { randomTensor } from '../../test/support/tensors.ts'
import { GraphBuilder, type Model, type TensorMap } from '../graph/index.ts'
import { fromNumbers, Tensor, toFloat64 } from '../tensor/index.ts'
import { compareModels, DifferenceSums } from './compare.ts'

async function* stream(...batches: TensorMap[]): AsyncGenerator<TensorMap> {
  yield* batches
}

/** x → Add constant 'shifted' → Mul factor 'y' */
function model(shift: number, factor: number, names: { x?: string; y?: string } = {}): Model {
  const b = new GraphBuilder()
  const x = b.input(names.x ?? 'x', 'float32', ['n', 3])
  b.op('Add', [x, b.constant(Tensor.of(Float32Array.of(shift), []))], {}, 'shifted')
  b.op('Mul', ['shifted', b.constant(Tensor.of(Float32Array.of(factor), []))], {}, names.y ?? 'y')
  b.output(names.y ?? 'y', 'float32')
  return b.model()
}

describe('compareModels', () => {
  const batches = [{ x: randomTensor([4, 3], 1) }, { x: randomTensor([2, 3], 2) }]
  const values = batches.flatMap(({ x }) => [...toFloat64(x)])

  it('measures outputs and inner values over all batches', async () => {
    // A: y = x; B: y = 1.1 (x + 0.5)
    const comparison = await compareModels(evaluator, model(0, 1), model(0.5, 1.1), stream(...batches))
    const norm = Math.hypot(...values)
    const other = values.map((x) => 1.1 * (x + 0.5))
    const difference = values.map((x, i) => x - other[i]!)
    const [y] = comparison.outputs
    expect(comparison.batches).toBe(2)
    expect(comparison.outputs.map(({ name, elements }) => [name, elements])).toEqual([['y', 18]])
    expect(y!.relativeError).toBeCloseTo(Math.hypot(...difference) / norm, 6)
    expect(y!.sqnr).toBeCloseTo(20 * Math.log10(norm / Math.hypot(...difference)), 5)
    const dot = values.reduce((sum, x, i) => sum + x * other[i]!, 0)
    expect(y!.cosine).toBeCloseTo(dot / (norm * Math.hypot(...other)), 6)
    expect(y!.maxAbsolute).toBeCloseTo(Math.max(...difference.map(Math.abs)), 6)
    const [shifted] = comparison.layers
    expect([shifted!.name, comparison.layers.length]).toEqual(['shifted', 1])
    expect(shifted!.maxAbsolute).toBeCloseTo(0.5, 6)
  })

  it('finds equal models equal', async () => {
    const { outputs, layers } = await compareModels(evaluator, model(1, 2), model(1, 2), stream(...batches))
    for (const value of [...outputs, ...layers])
      expect(value).toMatchObject({ sqnr: Number.POSITIVE_INFINITY, cosine: 1, relativeError: 0, maxAbsolute: 0 })
  })

  it('compares outputs alone when asked, and inner values in several runs when they are large', async () => {
    const alone = await compareModels(evaluator, model(0, 1), model(0.5, 1), stream(...batches), { layers: false })
    expect(alone.layers).toEqual([])
    const [whole, cut] = [
      await compareModels(evaluator, model(0, 1), model(0.5, 1.1), stream(...batches)),
      await compareModels(evaluator, model(0, 1), model(0.5, 1.1), stream(...batches), { runBytes: 1 }),
    ]
    expect(cut).toEqual(whole)
  })

  it('pairs inputs and outputs by position when no names agree', async () => {
    const other = model(0, 1, { x: 'image', y: 'logits' })
    const { outputs } = await compareModels(evaluator, model(0, 1), other, stream(...batches))
    expect(outputs.map(({ name, relativeError }) => [name, relativeError])).toEqual([['y', 0]])
  })

  it('refuses what cannot be compared', async () => {
    const narrow = new GraphBuilder()
    narrow.op('ReduceSum', [narrow.input('x', 'float32', ['n', 3])], { keepdims: 0 }, 'y')
    narrow.output('y', 'float32')
    await expect(compareModels(evaluator, model(0, 1), narrow.model(), stream(...batches))).rejects.toThrow(
      "Output 'y': must have the same shape in both models; it has [4, 3] and [].",
    )
    const wide = new GraphBuilder()
    wide.op('Add', [wide.input('p', 'float32', ['n']), wide.input('q', 'float32', ['n'])], {}, 'y')
    wide.output('y', 'float32')
    await expect(compareModels(evaluator, model(0, 1), wide.model(), stream(...batches))).rejects.toThrow(
      "Comparison: the models' inputs must have the same names or the same number; they have 'x' and 'p', 'q'.",
    )
    await expect(compareModels(evaluator, model(0, 1), model(0, 1), stream())).rejects.toThrow(
      'Comparison: needs at least one batch of data; got none.',
    )
    const controller = new AbortController()
    controller.abort()
    await expect(
      compareModels(evaluator, model(0, 1), model(0, 1), stream(...batches), { signal: controller.signal }),
    ).rejects.toThrow('The work was cancelled.')
  })
})

describe('DifferenceSums', () => {
  const of = (...values: number[]) => Tensor.of(Float32Array.from(values), [values.length])

  it('counts numbers that are not finite and leaves them out', () => {
    const sums = new DifferenceSums()
    sums.add(
      of(1, Number.NaN, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY),
      of(1, 2, Number.POSITIVE_INFINITY, 3),
    )
    expect(sums.result('y')).toMatchObject({ nonFinite: 2, relativeError: 0, elements: 4 })
  })

  it('compares across element types', () => {
    const sums = new DifferenceSums()
    sums.add(of(0.5, -2), fromNumbers(Float32Array.of(0.5, -2), [2], 'float16'))
    expect(sums.result('y').relativeError).toBe(0)
  })

  it('tells a zero reference from equality', () => {
    const sums = new DifferenceSums()
    sums.add(of(0, 0), of(0, 1))
    expect(sums.result('y')).toMatchObject({ relativeError: Number.POSITIVE_INFINITY, cosine: 0 })
  })
})
