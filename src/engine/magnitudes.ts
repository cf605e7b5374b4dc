/** The greatest magnitudes of inner values on data, reduced to one number each inside the runtime. */
import { checkAborted, fail, type TaskOptions } from '../core/index.ts'
import { createNode, type Evaluator, type Model, NameGenerator, type TensorMap } from '../graph/index.ts'
import { toFloat64 } from '../tensor/index.ts'
import { withOutputs } from './outputs.ts'

/**
 * The greatest |x| of values over all batches, infinite where a value is NaN or infinite.
 *
 * @param names float values of the main graph.
 * @throws WhittleError `INVALID_DATA` when there is no batch; `ENGINE`; `ABORTED`.
 */
export async function collectMagnitudes(
  evaluator: Evaluator,
  model: Model,
  names: readonly string[],
  data: () => AsyncIterable<TensorMap>,
  options: TaskOptions = {},
): Promise<Map<string, number>> {
  const observed = withOutputs(model, [])
  const generator = new NameGenerator(observed.graph)
  const outputs = names.map((name) => {
    const absolute = generator.fresh(`${name}_absolute`)
    const greatest = generator.fresh(`${name}_greatest`)
    observed.graph.nodes.push(
      createNode('Abs', [name], [absolute], {}, generator.fresh(`${name}_Abs`)),
      createNode('ReduceMax', [absolute], [greatest], { keepdims: 0 }, generator.fresh(`${name}_ReduceMax`)),
    )
    return greatest
  })
  observed.graph.outputs = outputs.map((name) => ({ name, type: undefined }))
  const magnitudes = new Map<string, number>(names.map((name) => [name, 0]))
  const executable = await evaluator.load(observed)
  let batches = 0
  try {
    for await (const feeds of data()) {
      checkAborted(options.signal)
      options.onProgress?.({ stage: 'calibrate', done: batches, total: undefined })
      const results = await executable.run(feeds, outputs)
      for (const [position, name] of names.entries()) {
        const greatest = toFloat64(results[outputs[position]!]!)[0]!
        magnitudes.set(
          name,
          Math.max(magnitudes.get(name)!, Number.isNaN(greatest) ? Number.POSITIVE_INFINITY : greatest),
        )
      }
      batches++
    }
  } finally {
    await executable.release()
  }
  if (batches === 0) fail('INVALID_DATA', 'Calibration: the data must have at least one batch; there is none.')
  return magnitudes
}
