/** Quantizing small networks in tests: ranges from one batch, and graphs with names of one's own. */
import { type Calibrated, calibrateModel, prepareForQuantization } from '../../src/api/index.ts'
import {
  findQuantizable,
  planQuantize,
  type Quantizable,
  type QuantizePlan,
  type QuantizePlanOptions,
  type Range,
} from '../../src/compress/index.ts'
import { observeShapes, randomFeeds } from '../../src/engine/index.ts'
import { GraphBuilder, type Model, type TensorMap } from '../../src/graph/index.ts'
import { toFloat64 } from '../../src/tensor/index.ts'
import { evaluator } from './run-model.ts'

/** A graph whose nodes and values have given names: `named('conv', 'Conv', [x, w])` makes the value `conv`. */
export class NamedGraph extends GraphBuilder {
  named(
    name: string,
    op: string,
    inputs: readonly string[],
    attributes: Parameters<GraphBuilder['op']>[2] = {},
  ): string {
    const output = this.op(op, inputs, attributes, name)
    this.graph.nodes.at(-1)!.name = name
    return output
  }
}

/** What can be quantized in a model as it is. */
export async function quantizableOf(model: Model, options: QuantizePlanOptions = {}): Promise<Quantizable> {
  return findQuantizable(model, await observeShapes(evaluator, model), options)
}

/** A plan for a model as it is, with given ranges. */
export async function planOf(
  model: Model,
  ranges: Readonly<Record<string, Range>>,
  options: QuantizePlanOptions = {},
): Promise<QuantizePlan> {
  const shapes = await observeShapes(evaluator, model)
  return planQuantize(model, options, { shapes, ranges: new Map(Object.entries(ranges)) })
}

/** A prepared model, calibrated on one batch of random numbers or of the given feeds, and planned. */
export async function calibratedPlan(
  model: Model,
  options: QuantizePlanOptions = {},
  feeds: TensorMap = randomFeeds(model),
  inputShapes: Readonly<Record<string, readonly number[]>> = {},
): Promise<{ model: Model; plan: QuantizePlan; calibrated: Calibrated }> {
  const types = [options.activations, options.weights].filter((type) => type !== undefined)
  const prepared = await prepareForQuantization(model, { types, inputShapes }, { evaluator })
  const data = async function* () {
    yield feeds
  }
  const calibrated = await calibrateModel(prepared.model, options, { data, inputShapes }, { evaluator })
  const { shapes, ranges } = calibrated
  return { model: prepared.model, calibrated, plan: planQuantize(prepared.model, options, { shapes, ranges }) }
}

/** 10 log₁₀(‖A‖² / ‖A − B‖²) in decibels, the least over the outputs of A. */
export function leastSqnr(a: TensorMap, b: TensorMap): number {
  return Math.min(
    ...Object.entries(a).map(([name, tensor]) => {
      const [x, y] = [toFloat64(tensor), toFloat64(b[name]!)]
      let noise = 0
      let signal = 0
      for (let i = 0; i < x.length; i++) {
        noise += (x[i]! - y[i]!) ** 2
        signal += x[i]! ** 2
      }
      return noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / noise)
    }),
  )
}
