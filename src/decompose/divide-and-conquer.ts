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
import { type SecularSolver, withSecularSolver } from './secular-equation.ts'
import { type TridiagonalEigen, tridiagonalEigen } from './tridiagonal-ql.ts'

const EPSILON = 2 ** -52
const LEAF = 32

/**
 * Eigenpairs of the tridiagonal matrix with the given diagonals.
 *
 * @param diagonal,offDiagonal n numbers each (the last off-diagonal is ignored), the largest in about 1 … 2⁶⁴. Not written to.
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
  const solve = async (solver: SecularSolver, from: number, to: number, wanted: number): Promise<TridiagonalEigen> => {
    const size = to - from
    if (size <= LEAF) return largest(tridiagonalEigen(d.subarray(from, to), offDiagonal.subarray(from, to)), wanted)
    checkAborted(signal)
    const cut = from + (size >> 1)
    const coupling = offDiagonal[cut - 1]!
    // T = diag(T1, T2) + |coupling| u uᵀ with u = (0 … 1, ±1 … 0).
    d[cut - 1] = d[cut - 1]! - Math.abs(coupling)
    d[cut] = d[cut]! - Math.abs(coupling)
    const top = await solve(solver, from, cut, cut - from)
    const bottom = await solve(solver, cut, to, to - cut)
    return merge(engine, solver, top, bottom, coupling, wanted)
  }
  const wanted = count ?? n
  // The largest problems: the last one, with the vectors that are wanted, and the larger half, with all of its own.
  const half = n - (n >> 1)
  const problems = [
    [n, wanted],
    [half, half],
  ] as const
  return withSecularSolver(problems, (solver) => solve(solver, 0, n, wanted))
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

/** Indices of `d` in ascending order; `d` ascends up to `cut`, and again from there on. */
function ascending(d: Float64Array, cut: number): Int32Array {
  const order = new Int32Array(d.length)
  let [a, b] = [0, cut]
  for (let i = 0; i < order.length; i++) order[i] = b === d.length || (a < cut && d[a]! <= d[b]!) ? a++ : b++
  return order
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
  const order = ascending(d, basis.n1)
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
  solver: SecularSolver,
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
  // z = Qᵀ u: the last elements of the top vectors and the first ones of the bottom vectors.
  const z = new Float64Array(n)
  for (let j = 0; j < n1; j++) z[j] = top.vectors[j * n1 + n1 - 1]!
  for (let j = 0; j < n2; j++) z[n1 + j] = Math.sign(coupling) * bottom.vectors[j * n2]!
  let norm = 0
  for (let j = 0; j < n; j++) norm += z[j]! * z[j]!
  const rho = Math.abs(coupling) * norm
  const toUnit = norm > 0 ? 1 / Math.sqrt(norm) : 0
  for (let j = 0; j < n; j++) z[j] = z[j]! * toUnit

  const { active, deflated } = deflate(basis, d, z, rho)
  deflated.sort((a, b) => d[a]! - d[b]!)
  const k = active.length
  const kept = Math.max(0, k - wanted)
  const poles = Float64Array.from(active, (j) => d[j]!)
  const weights = Float64Array.from(active, (j) => z[j]!)
  const roots = k > 0 ? solver.solve(poles, weights, rho, kept) : poles

  // Both lists ascend. Where a vector is wanted: the row of a deflated one is copied, `placeOf` the root's is noted.
  const values = new Float64Array(n)
  const vectors = new Float64Array(wanted * n)
  const placeOf = new Int32Array(k)
  let first = k
  let [r, q] = [0, 0]
  for (let i = 0; i < n; i++) {
    const to = i - (n - wanted)
    if (q === deflated.length || (r < k && roots[r]! <= d[deflated[q]!]!)) {
      values[i] = roots[r]!
      if (to >= 0) first = Math.min(first, r)
      placeOf[r++] = to
      continue
    }
    const row = deflated[q++]!
    values[i] = d[row]!
    if (to < 0) continue
    const [upper, lower] = partsOf(basis, row)
    if (upper) vectors.set(upper, to * n)
    if (lower) vectors.set(lower, to * n + n1)
  }
  if (first < k) {
    solver.formVectors()
    for (const half of [0, 1] as const)
      await rotateHalf(engine, solver, basis, active, half, { first, placeOf, vectors })
  }
  return { values, vectors }
}

/** The top or the bottom half of the vectors of roots: eigenvectors of the secular problem times the active rows. */
async function rotateHalf(
  engine: MatrixEngine,
  solver: SecularSolver,
  basis: Basis,
  active: readonly number[],
  half: 0 | 1,
  { first, placeOf, vectors }: { readonly first: number; readonly placeOf: Int32Array; readonly vectors: Float64Array },
): Promise<void> {
  const { n1, n2 } = basis
  const { members, rows } = activeRows(basis, active, half)
  if (members.length === 0) return
  const offset = half === 0 ? 0 : n1
  const length = half === 0 ? n1 : n2
  await solver.multiply(engine, [first, active.length], members, rows, ({ rows: count, data }, root) => {
    for (let i = 0; i < count; i++)
      vectors.set(data.subarray(i * length, i * length + length), placeOf[root + i]! * (n1 + n2) + offset)
  })
}

/** The parts in one half of the active rows, and which active row each of them is (−1: of one that is not active). */
function activeRows(basis: Basis, active: readonly number[], half: 0 | 1): { members: Int32Array; rows: Matrix64 } {
  const { n1, n2, mixed } = basis
  const [from, length, all] = half === 0 ? [0, n1, basis.top] : [n1, n2, basis.bottom]
  // Nearly all of them, and none elsewhere: as they are, in their own order.
  if (mixed.size === 0) {
    const members = new Int32Array(length).fill(-1)
    let count = 0
    active.forEach((j, i) => {
      if (j < from || j >= from + length) return
      members[j - from] = i
      count++
    })
    if (count > 0.85 * length) return { members, rows: { rows: length, cols: length, data: all } }
  }
  const parts = active.map((j) => partsOf(basis, j)[half])
  const members = Int32Array.from(parts.flatMap((part, i) => (part ? [i] : [])))
  const data = new Float64Array(members.length * length)
  members.forEach((i, q) => {
    data.set(parts[i]!, q * length)
  })
  return { members, rows: { rows: members.length, cols: length, data } }
}
