import { describe, it } from 'vitest'
import { expectGradient, type GradientCase } from '../../../test/support/gradient-check.ts'
import { float, type GraphBuilder } from '../../graph/index.ts'
import { Tensor } from '../../tensor/index.ts'

const SHAPES = [
  [3, 2],
  [2, 3, 5],
  [2, 3, 4, 3],
  [2, 2, 3, 2, 2],
]

/** Inputs 0 to 4: x, scale, bias, mean, variance; only a variance must be positive. */
const sample: GradientCase['sample'] = (random, input) => (input === 4 ? 0.5 + random.uniform() : random.normal())

/** With the statistics of the batch, of operators with float64 kernels. */
const byBatch =
  (shape: readonly number[], epsilon: number): NonNullable<GradientCase['reference']> =>
  (b: GraphBuilder, [x, scale, bias]) => {
    const axes = b.constant(Tensor.int64(shape.map((_, axis) => axis).filter((axis) => axis !== 1)))
    const column = (value: string): string =>
      b.op('Reshape', [value, b.constant(Tensor.int64([-1, ...shape.slice(2).map(() => 1)]))])
    const centered = b.op('Sub', [x!, b.op('ReduceMean', [x!, axes])])
    const variance = b.op('ReduceMean', [b.op('Mul', [centered, centered]), axes])
    const shifted = b.op('Add', [variance, b.constant(Tensor.of(Float64Array.of(epsilon), []))])
    const value = b.op('Div', [centered, b.op('Sqrt', [shifted])])
    return [b.op('Add', [b.op('Mul', [value, column(scale!)]), column(bias!)])]
  }

describe('gradients of BatchNormalization', () => {
  for (const shape of SHAPES) {
    const channels = [shape[1]!]
    it(`with fixed statistics, of [${shape}]`, () =>
      expectGradient('BatchNormalization', {
        inputs: [shape, channels, channels, channels, channels],
        attributes: { epsilon: float(0.01) },
        sample,
      }))
    for (const momentum of [0, 0.9])
      it(`with batch statistics and momentum ${momentum}, of [${shape}]`, () =>
        expectGradient(
          'BatchNormalization',
          {
            inputs: [shape, channels, channels],
            attributes: { training_mode: 1 },
            reference: byBatch(shape, Math.fround(0.01)),
            ...trainingNode(shape[1]!, momentum),
          },
          { numeric: 1e-5 },
        ))
  }
  it('with fixed statistics that are constants', () =>
    expectGradient('BatchNormalization', {
      inputs: [[2, 2, 3], [2], [2], Tensor.of(Float32Array.of(0.5, -1), [2]), Tensor.of(Float32Array.of(2, 0.25), [2])],
    }))
})

/** A node in training mode, whose inputs for the running statistics are its own: ONNX Runtime writes to them. */
function trainingNode(channels: number, momentum: number): Pick<GradientCase, 'build'> {
  return {
    build: (b, [x, scale, bias]) => {
      const running = ['mean', 'variance'].map((_, at) => {
        const zeros = b.op('Mul', [scale!, b.constant(Tensor.of(new Float32Array(channels), [channels]))])
        return b.op('Add', [zeros, b.constant(Tensor.of(Float32Array.of(at + 1), []))])
      })
      const attributes = { training_mode: 1, momentum: float(momentum), epsilon: float(0.01) }
      const names = ['y', 'running_mean', 'running_variance']
      return b.ops('BatchNormalization', [x!, scale!, bias!, ...running], attributes, names).slice(0, 1)
    },
  }
}
