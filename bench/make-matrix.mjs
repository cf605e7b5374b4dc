// Writes a float64 matrix as a NumPy file: node bench/make-matrix.mjs eigen|svd N PATH. Rows of random numbers decay by
// e⁻⁶ from the first to the last: N × N for singular values, the Gram matrix of N × 2N for eigenvalues.
import { writeFileSync } from 'node:fs'
import { createNodeRuntime } from 'whittle-nn/node'
import { encodeNpy } from '../interop/npy.mjs'
import { normal } from './synthetic-weights.mjs'

const [kind, size, path] = process.argv.slice(2)
const n = Number(size)
const cols = kind === 'eigen' ? 2 * n : n
const rows = Float64Array.from(
  { length: n * cols },
  (_, at) => normal(7, at) * Math.exp((-6 * Math.floor(at / cols)) / n),
)
const { matrices } = await createNodeRuntime()
const { data } = kind === 'eigen' ? await matrices.gram({ rows: n, cols, data: rows }) : { data: rows }
writeFileSync(path, encodeNpy(data, [n, n]))
process.stdout.write('{"cpu": 0}\n', () => process.exit(0))
