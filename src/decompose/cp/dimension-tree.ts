/**
 * MTTKRPs of one tensor with changing factors, most of the work shared between modes.
 *
 * Modes are updated in turn. When mode n is due, the modes d … n−1 (in the cyclic order) that were updated last are
 * contracted in one matrix product, which leaves a partial result over the modes n, n+1, …, d−1; it serves these in
 * turn, each by a cheap pass. With one contracted mode that is N / (N − 1) large products per sweep instead of N; which
 * d is best depends on the extents, short modes make long partial results. Results are those of ALS as ever.
 *
 * The tensor is kept once per first mode n that occurs, its modes turned so that the contracted ones come last: there
 * is nothing to rearrange in a sweep.
 *
 * Sources: Phan, Tichavský, Cichocki, "Fast alternating LS algorithms for high order CANDECOMP/PARAFAC tensor
 * factorizations", IEEE Trans. Signal Processing 61(19), 2013; Ma, Solomonik, "Efficient parallel CP decomposition with
 * pairwise perturbation and multi-sweep dimension tree", IPDPS 2021.
 */
import type { Matrix, MatrixEngine } from '../matrix.ts'
import { arrayLike, transposed } from '../matrix-layout.ts'
import type { Reals } from './cp-options.ts'
import { khatriRaoRows, type Side, weightedSums } from './partial-sums.ts'

/** The tensor with some modes contracted. */
interface Partial<T extends Reals> {
  /** Modes left, in the order of the data. */
  readonly left: readonly number[]
  /** Modes contracted, and the versions of their factors. */
  readonly done: readonly (readonly [mode: number, version: number])[]
  /** `[Π left, rank]` */
  readonly data: T
}

/** Time of a multiply-add in the matrix product, and of reading or writing an element of a partial result. */
const COST = { product: 1, write: 12, read: 20 } as const

/** MTTKRPs of one tensor. */
export class DimensionTree<T extends Reals> {
  readonly #engine: MatrixEngine
  readonly #shape: readonly number[]
  readonly #rank: number
  /** The tensor with mode n first, then n+1, …; made when first needed. */
  readonly #turned: (T | undefined)[]
  readonly #versions: number[]
  #partial: Partial<T> | undefined

  /** @param data not written to, and to stay as it is until {@link replace}. */
  constructor(engine: MatrixEngine, data: T, shape: readonly number[], rank: number) {
    this.#engine = engine
    this.#shape = shape
    this.#rank = rank
    this.#turned = shape.map((_, mode) => (mode === 0 ? data : undefined))
    this.#versions = shape.map(() => 0)
  }

  /** Says that the factor of a mode has changed. */
  changed(mode: number): void {
    this.#versions[mode]! += 1
  }

  /** Puts other elements into the tensor. */
  replace(data: T): void {
    this.#turned.fill(undefined)
    this.#turned[0] = data
    this.#partial = undefined
  }

  /** The MTTKRP of a mode, `[i_n, rank]`. @param factors `[i_k, rank]` of every mode, row-major. */
  async mttkrp(mode: number, factors: readonly T[]): Promise<T> {
    const partial = await this.#partialFor(mode, factors)
    const { left, data } = partial
    if (left.length === 1) return data
    const place = left.indexOf(mode)
    const side = (modes: readonly number[]): Side => this.#side(modes, factors)
    return weightedSums(data, side(left.slice(0, place)), this.#shape[mode]!, side(left.slice(place + 1)), this.#rank)
  }

  #side(modes: readonly number[], factors: readonly T[]): Side {
    return khatriRaoRows(
      modes.map((mode) => ({ rows: this.#shape[mode]!, data: factors[mode]! })),
      this.#rank,
    )
  }

  async #partialFor(mode: number, factors: readonly T[]): Promise<Partial<T>> {
    const current = this.#partial
    if (current?.left.includes(mode) && current.done.every(([k, version]) => this.#versions[k] === version))
      return current
    const order = this.#shape.map((_, k) => (mode + k) % this.#shape.length)
    const kept = keptModes(
      order.map((k) => this.#shape[k]!),
      this.#rank,
    )
    const [left, contracted] = [order.slice(0, kept), order.slice(kept)]
    const side = this.#side(contracted, factors)
    const right = arrayLike(factors[0]!, side.data.length) as T
    right.set(side.data)
    const tensor = this.#turnedTo(mode)
    const a: Matrix<T> = { rows: tensor.length / side.rows, cols: side.rows, data: tensor }
    // The old partial result goes before the new one comes.
    this.#partial = undefined
    const { data } = await this.#engine.multiply(a, { rows: side.rows, cols: this.#rank, data: right })
    this.#partial = { left, done: contracted.map((k) => [k, this.#versions[k]!]), data }
    return this.#partial
  }

  #turnedTo(mode: number): T {
    const known = this.#turned[mode]
    if (known) return known
    const data = this.#turned[0]!
    let rows = 1
    for (let k = 0; k < mode; k++) rows *= this.#shape[k]!
    const { data: turned } = transposed({ rows, cols: data.length / rows, data })
    this.#turned[mode] = turned
    return turned
  }
}

/** How many of the modes, the next ones to be updated first, a partial result should keep: the least time per update. */
function keptModes(extents: readonly number[], rank: number): number {
  const size = extents.reduce((product, extent) => product * extent, 1)
  let best = { kept: 1, cost: Number.POSITIVE_INFINITY }
  let rows = 1
  for (let kept = 1; kept < extents.length; kept++) {
    rows *= extents[kept - 1]!
    const read = kept === 1 ? 0 : kept * COST.read * rows * rank
    const cost = (COST.product * size * rank + COST.write * (rows + size / rows) * rank + read) / kept
    if (cost < best.cost) best = { kept, cost }
  }
  return best.kept
}
