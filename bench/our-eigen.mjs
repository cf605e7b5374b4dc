// Eigenpairs or singular triples of one matrix, warm, best of some rounds; prints one line of JSON.
import { readFileSync } from 'node:fs'
import { decodeNpy } from 'whittle-nn/data'
import { singularValues, symmetricEigen, truncatedSvd } from 'whittle-nn/decompose'
import { createNodeRuntime } from 'whittle-nn/node'
import { usage } from './process.mjs'

const { kind, data: path, threads, repeats } = JSON.parse(process.argv[2])
const { matrices: engine } = await createNodeRuntime({ threads })
const { shape, data } = await decodeNpy(readFileSync(path), path)
const [rows, cols] = shape
const a = { rows, cols, data }

const norm = (values) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))

/** ‖A V − U diag(s)‖ / ‖A‖ and ‖VᵀV − I‖ / √count; for eigenpairs U is V. */
async function errors(v, u, s) {
  const image = (await engine.multiply(a, v)).data
  const count = s.length
  const residual = norm(image.map((value, at) => value - u.data[at] * s[at % count])) / norm(data)
  const products = (await engine.multiply(v, v, { transposeA: true })).data
  const deviation = norm(products.map((value, at) => value - (at % (count + 1) === 0 ? 1 : 0)))
  return { residual, orthogonality: deviation / Math.sqrt(count) }
}

function transposed({ rows: m, cols: n, data: values }) {
  const out = new Float64Array(values.length)
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) out[j * m + i] = values[i * n + j]
  return { rows: n, cols: m, data: out }
}

const WORK = {
  eigen: {
    all: () => symmetricEigen(engine, a),
    quarter: () => symmetricEigen(engine, a, { count: rows / 4 }),
    values: () => symmetricEigen(engine, a, { vectors: false }),
  },
  svd: {
    all: () => truncatedSvd(engine, a, rows, { method: 'exact' }),
    quarter: () => truncatedSvd(engine, a, rows / 4, { method: 'exact' }),
    values: () => singularValues(engine, a, { method: 'exact' }),
    'quarter, by Gram': () => truncatedSvd(engine, a, rows / 4, { method: 'gram' }),
  },
}[kind]

const split = {}
const results = {}
for (const [name, work] of Object.entries(WORK)) {
  split[name] = Number.POSITIVE_INFINITY
  for (let round = 0; round < repeats; round++) {
    const started = performance.now()
    results[name] = await work()
    split[name] = Math.min(split[name], (performance.now() - started) / 1000)
  }
}
const { quarter } = results
const accuracy =
  kind === 'eigen'
    ? await errors(quarter.vectors, quarter.vectors, quarter.values)
    : await errors(transposed(quarter.vt), quarter.u, quarter.s)
if (kind === 'eigen') {
  // All values come with the quarter: they are part of what is timed, and of what must be right.
  const difference = quarter.allValues.map((value, i) => value - results.values.values[i])
  accuracy.residual = Math.max(accuracy.residual, norm(difference) / norm(data))
}
const seconds = Object.values(split).reduce((sum, value) => sum + value, 0)
process.stdout.write(`${JSON.stringify({ seconds, split, ...accuracy, ...usage() })}\n`, () => process.exit(0))
