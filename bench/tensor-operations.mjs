// The operations of tensor algebra that are measured, in Node and in the browser alike. Imports nothing but numbers.
import { normal } from './synthetic-weights.mjs'

/** Rows of the matrices that modes are multiplied by, and columns of the factors of Khatri–Rao products. */
export const ROWS = 20
export const RANK = 50
/** Before the calls that count, on either side. */
const WARM_UP_MS = 500

/** A tensor with matrices `[20, i_k]` and factors `[i_k, 50]`. @param Tensor the library's class. */
export function operandsOf(x, Tensor) {
  const random = (seed, shape) =>
    Tensor.of(
      Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => normal(seed, i)),
      shape,
    )
  return {
    x,
    matrices: x.shape.map((extent, mode) => random(30 + mode, [ROWS, extent])),
    factors: x.shape.map((extent, mode) => random(40 + mode, [extent, RANK])),
  }
}

/** @param library the functions, and an engine. @returns a function per operation. */
function operations({ x, matrices, factors }, library) {
  const { engine, unfold, khatriRao, modeDotWith, multiModeDotWith, unfoldingDotKhatriRaoWith } = library
  const modes = x.shape.map((_, mode) => mode)
  return {
    'unfold, all modes': () => modes.map((mode) => unfold(x, mode)),
    ...Object.fromEntries(
      modes.map((mode) => [`mode product ${mode}`, () => modeDotWith(engine, x, matrices[mode], mode)]),
    ),
    'all mode products': () => multiModeDotWith(engine, x, matrices),
    'Khatri–Rao, without 0': () => khatriRao(factors, { skipMatrix: 0 }),
    ...Object.fromEntries(
      modes.map((mode) => [`MTTKRP ${mode}`, () => unfoldingDotKhatriRaoWith(engine, x, { factors }, mode)]),
    ),
  }
}

/**
 * Medians of `calls` calls in a row, each operation after a warm-up.
 *
 * @returns `split`, seconds per call of each operation, and their sum as `seconds`.
 */
export async function timeOperations(operands, library, calls) {
  const split = {}
  for (const [name, call] of Object.entries(operations(operands, library))) {
    const times = []
    const begun = performance.now()
    for (let round = 0; round < 3 || performance.now() - begun < WARM_UP_MS; round++) await call()
    for (let round = 0; round < calls; round++) {
      const started = performance.now()
      await call()
      times.push((performance.now() - started) / 1000)
    }
    split[name] = times.sort((a, b) => a - b)[times.length >> 1]
  }
  return { split, seconds: Object.values(split).reduce((sum, seconds) => sum + seconds, 0) }
}
