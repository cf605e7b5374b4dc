/**
 * Eigenpairs of a symmetric tridiagonal matrix by divide and conquer: cut it in two, solve the halves, glue them with a
 * rank-one modification. Nearly all of the work is matrix products, which go through the engine.
 *
 * Sources: Cuppen, "A divide and conquer method for the symmetric tridiagonal eigenproblem", Numer. Math. 36, 1981;
 * Rutter, "A serial implementation of Cuppen's divide and conquer algorithm for the symmetric eigenvalue problem",
 * LAPACK Working Note 69, 1994 (deflation and its tolerances).
 */
import { checkAborted, type TaskOptions } from '../core/index.ts'
import type { Matrix64, MatrixEngine } from './matrix.ts'
import { type SecularSolution, solveSecular } from './secular-equation.ts'
import { type TridiagonalEigen, tridiagonalEigen } from './tridiagonal-ql.ts'

const EPSILON = 2 ** -52
const LEAF = 32

/**
 * Eigenpairs of the tridiagonal matrix with the given diagonals.
 *
 * @param diagonal,offDiagonal n numbers each (the last off-diagonal is ignored), the largest near 1. Not written to.
 * @param options.count how many of the largest eigenvalues are wanted; default all.
 * @returns all n values, ascending, and one eigenvector per row: those of the largest `count` values.
 */
export async function divideAndConquer(
  engine: MatrixEngine,
  diagonal: Float64Array,
  offDiagonal: Float64Array,
  { count, signal }: TaskOptions & { readonly count?: number } = {},
): Promise<TridiagonalEigen> {
  const n = diagonal.length
  const d = diagonal.slice()
  const solve = async (from: number, to: number, wanted: number): Promise<TridiagonalEigen> => {
    const size = to - from
    if (size <= LEAF) return largest(tridiagonalEigen(d.subarray(from, to), offDiagonal.subarray(from, to)), wanted)
    checkAborted(signal)
    const cut = from + (size >> 1)
    const coupling = offDiagonal[cut - 1]!
    // T = diag(T1, T2) + |coupling| u uᵀ with u = (0 … 1, ±1 … 0).
    d[cut - 1] = d[cut - 1]! - Math.abs(coupling)
    d[cut] = d[cut]! - Math.abs(coupling)
    const top = await solve(from, cut, cut - from)
    const bottom = await solve(cut, to, to - cut)
    return merge(engine, top, bottom, coupling, wanted)
  }
  return solve(0, n, count ?? n)
}

/** All values, and the vectors of the largest `count` of them. */
function largest({ values, vectors }: TridiagonalEigen, count: number): TridiagonalEigen {
  const n = values.length
  return { values, vectors: vectors.subarray((n - count) * n) }
}

/**
 * The eigenvectors of both halves as rows of length n1 + n2. A row of one half is only as long as that half; a row
 * becomes `mixed`, of full length, when deflation rotates rows of both halves into each other.
 */
interface Basis {
  readonly n1: number
  readonly n2: number
  readonly top: Float64Array
  readonly bottom: Float64Array
  readonly mixed: Map<number, Float64Array>
}

/** The parts of row j in the top and in the bottom half; `undefined` where it is zero. */
function partsOf(basis: Basis, j: number): readonly [Float64Array | undefined, Float64Array | undefined] {
  const { n1, n2 } = basis
  const row = basis.mixed.get(j)
  if (row) return [row.subarray(0, n1), row.subarray(n1)]
  if (j < n1) return [basis.top.subarray(j * n1, j * n1 + n1), undefined]
  return [undefined, basis.bottom.subarray((j - n1) * n2, (j - n1) * n2 + n2)]
}

function mixedRow(basis: Basis, j: number): Float64Array {
  let row = basis.mixed.get(j)
  if (!row) {
    const [top, bottom] = partsOf(basis, j)
    row = new Float64Array(basis.n1 + basis.n2)
    if (top) row.set(top)
    if (bottom) row.set(bottom, basis.n1)
    basis.mixed.set(j, row)
  }
  return row
}

/** (a, b) ← (c a + s b, c b − s a) */
function rotate(a: Float64Array, b: Float64Array, c: number, s: number): void {
  for (let i = 0; i < a.length; i++) {
    const x = a[i]!
    const y = b[i]!
    a[i] = c * x + s * y
    b[i] = c * y - s * x
  }
}

function rotateBasis(basis: Basis, a: number, b: number, c: number, s: number): void {
  const [topA, bottomA] = partsOf(basis, a)
  const [topB, bottomB] = partsOf(basis, b)
  if (topA && topB && !bottomA && !bottomB) rotate(topA, topB, c, s)
  else if (bottomA && bottomB && !topA && !topB) rotate(bottomA, bottomB, c, s)
  else rotate(mixedRow(basis, a), mixedRow(basis, b), c, s)
}

/**
 * Splits the poles into those that take part in the secular equation (ascending) and those that already are
 * eigenvalues: their z is negligible, or a rotation with a neighbour of nearly the same value makes it so.
 * Writes to `d`, `z` and the basis.
 */
function deflate(
  basis: Basis,
  d: Float64Array,
  z: Float64Array,
  rho: number,
): { active: number[]; deflated: number[] } {
  const order = Array.from(d.keys()).sort((a, b) => d[a]! - d[b]!)
  let scale = 0
  for (let i = 0; i < d.length; i++) scale = Math.max(scale, Math.abs(d[i]!), Math.abs(z[i]!))
  const tolerance = 8 * EPSILON * scale
  const active: number[] = []
  const deflated: number[] = []
  let previous = -1
  for (const j of order) {
    if (rho * Math.abs(z[j]!) <= tolerance) {
      deflated.push(j)
      continue
    }
    if (previous >= 0) {
      const length = Math.hypot(z[previous]!, z[j]!)
      const c = z[j]! / length
      const s = -z[previous]! / length
      const [dp, dj] = [d[previous]!, d[j]!]
      if (Math.abs((dj - dp) * c * s) <= tolerance) {
        z[j] = length
        z[previous] = 0
        rotateBasis(basis, previous, j, c, s)
        d[previous] = dp * c * c + dj * s * s
        d[j] = dp * s * s + dj * c * c
        deflated.push(previous)
      } else active.push(previous)
    }
    previous = j
  }
  if (previous >= 0) active.push(previous)
  return { active, deflated }
}

/** Glues two solved halves: all values, and the vectors of the largest `wanted` of them. */
async function merge(
  engine: MatrixEngine,
  top: TridiagonalEigen,
  bottom: TridiagonalEigen,
  coupling: number,
  wanted: number,
): Promise<TridiagonalEigen> {
  const [n1, n2] = [top.values.length, bottom.values.length]
  const n = n1 + n2
  const basis: Basis = { n1, n2, top: top.vectors, bottom: bottom.vectors, mixed: new Map() }
  const d = new Float64Array(n)
  d.set(top.values)
  d.set(bottom.values, n1)
  // z: the last components of the upper vectors and the first ones of the lower.
  const z = new Float64Array(n)
  for (let j = 0; j < n1; j++) z[j] = top.vectors[j * n1 + n1 - 1]!
  for (let j = 0; j < n2; j++) z[n1 + j] = Math.sign(coupling) * bottom.vectors[j * n2]!
  let norm = 0
  for (const value of z) norm += value * value
  const rho = Math.abs(coupling) * norm
  for (let j = 0; j < n; j++) z[j] = norm > 0 ? z[j]! / Math.sqrt(norm) : 0

  const { active, deflated } = deflate(basis, d, z, rho)
  const poles = Float64Array.from(active, (j) => d[j]!)
  const weights = Float64Array.from(active, (j) => z[j]!)
  const secular = active.length > 0 ? solveSecular(poles, weights, rho) : undefined

  type Pair = { value: number; root?: number; row?: number }
  const pairs: Pair[] = deflated.map((row) => ({ value: d[row]!, row }))
  secular?.values.forEach((value, root) => {
    pairs.push({ value, root })
  })
  pairs.sort((a, b) => a.value - b.value)
  const chosen = pairs.slice(n - wanted)

  const values = Float64Array.from(pairs, (pair) => pair.value)
  const vectors = new Float64Array(wanted * n)
  const roots = chosen.flatMap(({ root }, to) => (root === undefined ? [] : [{ root, to }]))
  if (secular && roots.length > 0) await rotateIntoPlace(engine, basis, active, secular, roots, vectors)
  chosen.forEach(({ row }, to) => {
    if (row === undefined) return
    const [upper, lower] = partsOf(basis, row)
    if (upper) vectors.set(upper, to * n)
    if (lower) vectors.set(lower, to * n + n1)
  })
  return { values, vectors }
}

/** Rows of `vectors` for the roots: eigenvectors of the secular problem times the active rows, half by half. */
async function rotateIntoPlace(
  engine: MatrixEngine,
  basis: Basis,
  active: readonly number[],
  { delta, z }: SecularSolution,
  roots: readonly { readonly root: number; readonly to: number }[],
  vectors: Float64Array,
): Promise<void> {
  const { n1, n2 } = basis
  const n = n1 + n2
  const k = active.length
  const scale = roots.map(({ root }) => {
    let sum = 0
    for (let i = 0; i < k; i++) sum += (z[i]! / delta[root * k + i]!) ** 2
    return 1 / Math.sqrt(sum)
  })
  for (const half of [0, 1] as const) {
    const length = half === 0 ? n1 : n2
    const parts = active.map((j) => partsOf(basis, j)[half])
    const members = Uint32Array.from(parts.flatMap((part, i) => (part ? [i] : [])))
    if (members.length === 0) continue
    const rows = new Float64Array(members.length * length)
    members.forEach((i, q) => {
      rows.set(parts[i]!, q * length)
    })
    const left = new Float64Array(roots.length * members.length)
    roots.forEach(({ root }, r) => {
      const factor = scale[r]!
      for (let q = 0, at = r * members.length; q < members.length; q++, at++) {
        const i = members[q]!
        left[at] = (factor * z[i]!) / delta[root * k + i]!
      }
    })
    const product: Matrix64 = await engine.multiply(
      { rows: roots.length, cols: members.length, data: left },
      { rows: members.length, cols: length, data: rows },
    )
    const offset = half === 0 ? 0 : n1
    roots.forEach(({ to }, r) => {
      vectors.set(product.data.subarray(r * length, r * length + length), to * n + offset)
    })
  }
}
