// Operations or one decomposition of a tensor with the public library; prints one line of JSON. Operations are medians
// of calls in a row after a warm-up; a decomposition is timed once, from the tensor in memory to the factors.
import { readFileSync } from 'node:fs'
import { decodeNpy } from 'whittle-nn/data'
import * as decompose from 'whittle-nn/decompose'
import { createNodeRuntime } from 'whittle-nn/node'
import { khatriRao, Tensor, unfold } from 'whittle-nn/tensor'
import { usage } from './process.mjs'
import { operandsOf, timeOperations } from './tensor-operations.mjs'

const job = JSON.parse(process.argv[2])
const { matrices: engine } = await createNodeRuntime({ threads: job.threads })
const x = await decodeNpy(readFileSync(job.data), job.data)

const DECOMPOSITIONS = {
  parafac: () =>
    decompose.parafac(engine, x, job.rank, { init: 'random', seed: 1, maxIterations: job.iterations, tolerance: 0 }),
  tucker: () => decompose.tucker(engine, x, job.ranks),
}

async function decomposition() {
  // The runtime's libraries are loaded, as Python's are after their import.
  await engine.multiply(...[0, 1].map(() => ({ rows: 64, cols: 64, data: new Float32Array(64 * 64) })))
  const started = performance.now()
  const { relativeError, iterations } = await DECOMPOSITIONS[job.kind]()
  return { seconds: (performance.now() - started) / 1000, relativeError, iterations }
}

const report =
  job.kind === 'operations'
    ? await timeOperations(operandsOf(x, Tensor), { engine, unfold, khatriRao, ...decompose }, job.calls)
    : await decomposition()
process.stdout.write(`${JSON.stringify({ ...report, ...usage() })}\n`, () => process.exit(0))
