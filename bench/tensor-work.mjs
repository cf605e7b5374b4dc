// One measurement of tensor algebra on a given engine, the same in Node and in a browser.
import * as decompose from 'whittle-nn/decompose'
import { khatriRao, Tensor, unfold } from 'whittle-nn/tensor'
import { operandsOf, timeOperations } from './tensor-operations.mjs'

const DECOMPOSITIONS = {
  parafac: (engine, x, { rank, iterations }) =>
    decompose.parafac(engine, x, rank, { init: 'random', seed: 1, maxIterations: iterations, tolerance: 0 }),
  tucker: (engine, x, { ranks }) => decompose.tucker(engine, x, ranks),
}

/** A decomposition is called again until it took this long in all, at most this often. */
const CALLS = 5
const SECONDS = 8

/**
 * Operations, as medians of calls in a row after a warm-up; or one decomposition, from the tensor in memory to the
 * factors: the median of calls in a row, and the first one.
 *
 * @param job `{ kind, calls }`, `{ kind, rank, iterations }` or `{ kind, ranks }`.
 * @param afterFirst called after the first call of a decomposition.
 */
export async function measureTensorWork(engine, x, job, afterFirst = () => {}) {
  if (job.kind === 'operations')
    return timeOperations(operandsOf(x, Tensor), { engine, unfold, khatriRao, ...decompose }, job.calls)
  // The runtime's libraries are loaded, as Python's are after their import.
  await engine.multiply(...[0, 1].map(() => ({ rows: 64, cols: 64, data: new Float32Array(64 * 64) })))
  const times = []
  let result
  for (let spent = 0; times.length < CALLS && spent < SECONDS; spent += times.at(-1)) {
    const started = performance.now()
    result = await DECOMPOSITIONS[job.kind](engine, x, job)
    times.push((performance.now() - started) / 1000)
    if (times.length === 1) afterFirst()
  }
  const { relativeError, iterations } = result
  return { seconds: times.toSorted((a, b) => a - b)[times.length >> 1], first: times[0], relativeError, iterations }
}
