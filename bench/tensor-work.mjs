// One measurement of tensor algebra on a given engine, the same in Node and in a browser.
import * as decompose from 'whittle-nn/decompose'
import { khatriRao, Tensor, unfold } from 'whittle-nn/tensor'
import { operandsOf, timeOperations } from './tensor-operations.mjs'

const DECOMPOSITIONS = {
  parafac: (engine, x, { rank, iterations }) =>
    decompose.parafac(engine, x, rank, { init: 'random', seed: 1, maxIterations: iterations, tolerance: 0 }),
  tucker: (engine, x, { ranks }) => decompose.tucker(engine, x, ranks),
}

/**
 * Operations, as medians of calls in a row after a warm-up; or one decomposition, timed once from the tensor in memory
 * to the factors.
 *
 * @param job `{ kind, calls }`, `{ kind, rank, iterations }` or `{ kind, ranks }`.
 */
export async function measureTensorWork(engine, x, job) {
  if (job.kind === 'operations')
    return timeOperations(operandsOf(x, Tensor), { engine, unfold, khatriRao, ...decompose }, job.calls)
  // The runtime's libraries are loaded, as Python's are after their import.
  await engine.multiply(...[0, 1].map(() => ({ rows: 64, cols: 64, data: new Float32Array(64 * 64) })))
  const started = performance.now()
  const { relativeError, iterations } = await DECOMPOSITIONS[job.kind](engine, x, job)
  return { seconds: (performance.now() - started) / 1000, relativeError, iterations }
}
