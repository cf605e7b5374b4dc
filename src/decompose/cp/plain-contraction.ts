/** Updates of CP factors by products of the engine and loops: for small tensors, and engines that have nothing better. */
import type { Contraction, ContractionInputs, ContractionOutputs, ContractionSpec } from '../contraction.ts'
import type { MatrixEngine } from '../matrix.ts'
import { arrayLike } from '../matrix-layout.ts'
import type { Reals } from './cp-options.ts'
import { solveUpdate } from './normal-equations.ts'

/**
 * The Khatri–Rao product of factors `[rank, i_k]` with components in rows: `[rank, Π i_k]`, the last factor's index
 * running fastest. One factor is itself.
 */
export function khatriRaoRows<T extends Reals>(factors: readonly T[], rank: number): T {
  return factors.reduce((left, right) => {
    const [m, n] = [left.length / rank, right.length / rank]
    const out = arrayLike(left, rank * m * n)
    let at = 0
    for (let r = 0; r < rank; r++)
      for (let i = 0; i < m; i++) {
        const value = left[r * m + i]!
        for (let j = 0; j < n; j++) out[at++] = value * right[r * n + j]!
      }
    return out
  })
}

/** Σ_j partial[r, i, j] weights[r, j]: `[rank, first]`. */
export function contractRest<T extends Reals>(partial: T, weights: T, rank: number): T {
  const width = weights.length / rank
  const out = arrayLike(partial, partial.length / width)
  const first = out.length / rank
  let at = 0
  for (let row = 0; row < out.length; row++) {
    const from = Math.floor(row / first) * width
    let sum = 0
    for (let j = 0; j < width; j++) sum += partial[at++]! * weights[from + j]!
    out[row] = sum
  }
  return out
}

/** Σ_i partial[r, i, j] factor[r, i]: `[rank, width]`. */
export function contractFirst<T extends Reals>(partial: T, factor: T, rank: number): T {
  const width = partial.length / factor.length
  const out = arrayLike(partial, rank * width)
  const sums = new Float64Array(width)
  const first = factor.length / rank
  for (let r = 0; r < rank; r++) {
    sums.fill(0)
    for (let i = 0; i < first; i++) {
      const row = r * first + i
      const value = factor[row]!
      for (let j = 0; j < width; j++) sums[j]! += value * partial[row * width + j]!
    }
    out.set(sums, r * width)
  }
  return out
}

/** A contraction in plain products. */
export function plainContraction<T extends Reals>(engine: MatrixEngine, spec: ContractionSpec<T>): Contraction<T> {
  const { rank, others, contracted, contractedFirst = false } = spec
  const cols = contracted.reduce((product, extent) => product * extent, 1)
  return {
    async run(inputs: ContractionInputs<T>): Promise<ContractionOutputs<T>> {
      const data = inputs.data ?? spec.data
      const weights = { rows: rank, cols, data: khatriRaoRows(inputs.contracted, rank) }
      const rows = data.length / cols
      const partial = contractedFirst
        ? await engine.multiply(weights, { rows: cols, cols: rows, data })
        : await engine.multiply(weights, { rows, cols, data }, { transposeB: true })
      const wide = others.length > 0
      const mttkrp = wide ? contractRest(partial.data, khatriRaoRows(inputs.others, rank), rank) : partial.data
      if (!inputs.equations) return { mttkrp }
      const update = await solveUpdate(engine, inputs.equations, mttkrp)
      return { mttkrp, update, ...(wide ? { rest: contractFirst(partial.data, update.factor, rank) } : {}) }
    },
    async release() {},
  }
}
