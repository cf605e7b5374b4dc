/** Running small models in tests. */
import * as ort from 'onnxruntime-node'
import { createEvaluator } from '../../src/engine/index.ts'
import type { Model, TensorMap } from '../../src/graph/index.ts'
import { relativeError } from './tensors.ts'

/** An evaluator over onnxruntime-node. */
export const evaluator = createEvaluator(ort, { threads: 2 })

/** All outputs of one run. */
export async function runModel(model: Model, feeds: TensorMap): Promise<TensorMap> {
  const executable = await evaluator.load(model)
  try {
    return await executable.run(feeds)
  } finally {
    await executable.release()
  }
}

/** The largest relative error over the outputs of two models on the same feeds. */
export async function outputError(expected: Model, actual: Model, feeds: TensorMap): Promise<number> {
  const [a, b] = [await runModel(expected, feeds), await runModel(actual, feeds)]
  return Math.max(...Object.entries(a).map(([name, tensor]) => relativeError(tensor, b[name]!)))
}
