/** Which component of one CP tensor is which of another: CP tensors are unique only up to their order. */
import { fail } from '../core/index.ts'
import { type CpTensor, cpNormalize, validateCpTensor } from './cp-tensor.ts'
import { columnMajor, multiplyInto, rowMajor } from './product.ts'
import { type Reals, shapeText, zerosLike } from './reals.ts'
import { Tensor } from './tensor.ts'

/** What {@link cpPermuteFactors} found. */
export interface PermutedCp {
  /** The components in the order of the reference's. */
  readonly cp: CpTensor
  /** Component r of `cp` is component `permutation[r]` of what was given. */
  readonly permutation: readonly number[]
  /** Mean congruence Π_k |cos(a_r⁽ᵏ⁾, b_r⁽ᵏ⁾)| of the pairs: 1 for the same components up to scale. */
  readonly congruence: number
}

/**
 * A CP tensor with its components in the order in which they resemble those of another most: the assignment of the
 * largest sum of congruences Π_k |cos|. Scales and signs stay as they are.
 *
 * @param reference and cp of the same shape and rank. Columns of zeros resemble nothing.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Tomasi, Bro, "A comparison of algorithms for fitting the PARAFAC model", Computational Statistics & Data Analysis
 *   50(7), 2006 (congruence); Kuhn, "The Hungarian method for the assignment problem", Naval Research Logistics 2, 1955.
 * @example
 * const cp = { factors: [randomTensor([3, 2]), randomTensor([4, 2])] }
 * console.log(cpPermuteFactors(cp, cp).permutation)
 */
export function cpPermuteFactors(reference: CpTensor, cp: CpTensor): PermutedCp {
  const [wanted, given] = [validateCpTensor(reference), validateCpTensor(cp)]
  if (wanted.shape.join() !== given.shape.join() || wanted.rank !== given.rank)
    fail(
      'SHAPE_MISMATCH',
      `cpPermuteFactors: both must have the same shape and rank; got ${shapeText(wanted.shape)} of rank ${wanted.rank} ` +
        `and ${shapeText(given.shape)} of rank ${given.rank}.`,
    )
  const { rank } = wanted
  const congruences = congruencesOf(reference, cp, rank)
  const permutation = bestAssignment(congruences, rank)
  const permuted = (tensor: Tensor): Tensor => {
    const data = tensor.data as Reals
    const out = zerosLike(tensor, data.length)
    for (let at = 0; at < out.length; at++) out[at] = data[at - (at % rank) + permutation[at % rank]!]!
    return Tensor.of(out, tensor.shape)
  }
  const weights = cp.weights ? { weights: permuted(cp.weights) } : {}
  const total = permutation.reduce((sum, s, r) => sum + congruences[r * rank + s]!, 0)
  return { cp: { ...weights, factors: cp.factors.map(permuted) }, permutation, congruence: total / rank }
}

/** Π_k |cos(a_r, b_s)| for every pair: `[rank, rank]`. */
function congruencesOf(one: CpTensor, other: CpTensor, rank: number): Float64Array {
  const [a, b] = [cpNormalize({ factors: one.factors }), cpNormalize({ factors: other.factors })]
  const out = new Float64Array(rank * rank).fill(1)
  const cosines = new Float64Array(rank * rank)
  for (const [mode, factor] of a.factors.entries()) {
    const [x, y] = [factor.data as Reals, b.factors[mode]!.data as Reals]
    const rows = factor.shape[0]!
    multiplyInto(rowMajor(cosines, rank), columnMajor(x, rank), rowMajor(y, rank), [rank, rows, rank])
    for (let at = 0; at < out.length; at++) out[at]! *= Math.abs(cosines[at]!)
  }
  return out
}

/**
 * The permutation with the largest sum of gains: the Hungarian method with shortest augmenting paths, n³.
 *
 * @param gains `[n, n]`. @returns for each row its column.
 */
function bestAssignment(gains: Float64Array, n: number): number[] {
  // Potentials of rows and columns; column n stands for the row that is being assigned.
  const [ofRow, ofColumn] = [new Float64Array(n), new Float64Array(n + 1)]
  const rowOf = new Int32Array(n + 1).fill(-1)
  for (let row = 0; row < n; row++) {
    rowOf[n] = row
    const slack = new Float64Array(n).fill(Number.POSITIVE_INFINITY)
    const cameFrom = new Int32Array(n).fill(n)
    const visited = new Uint8Array(n + 1)
    let column = n
    while (rowOf[column]! >= 0) {
      visited[column] = 1
      const current = rowOf[column]!
      let next = -1
      for (let j = 0; j < n; j++) {
        if (visited[j]) continue
        const cost = -gains[current * n + j]! - ofRow[current]! - ofColumn[j]!
        if (cost < slack[j]!) {
          slack[j] = cost
          cameFrom[j] = column
        }
        if (next < 0 || slack[j]! < slack[next]!) next = j
      }
      const step = slack[next]!
      for (let j = 0; j <= n; j++)
        if (visited[j]) {
          ofRow[rowOf[j]!]! += step
          ofColumn[j]! -= step
        } else if (j < n) slack[j]! -= step
      column = next
    }
    while (column !== n) {
      const before = cameFrom[column]!
      rowOf[column] = rowOf[before]!
      column = before
    }
  }
  const assignment = new Array<number>(n)
  for (let j = 0; j < n; j++) assignment[rowOf[j]!] = j
  return assignment
}
