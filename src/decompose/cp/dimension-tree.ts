/**
 * MTTKRPs of one tensor with changing factors, most of the work shared between modes.
 *
 * Modes are updated in turn. When mode n is due, the modes d … n−1 (in the cyclic order) that were updated last are
 * contracted in one matrix product, which leaves a partial result over the modes n, n+1, …, d−1; it serves these in
 * turn, each by a cheap pass. With one contracted mode that is N / (N − 1) large products per sweep instead of N; which
 * d is best depends on the extents, short modes make long partial results. The updates are those of ALS as ever.
 *
 * The tensor is kept once per mode n that begins a product, its modes turned so that the contracted ones come last:
 * there is nothing to rearrange in a sweep. For a few sweeps that is more than it saves: a tensor of order 3 then stays as
 * it lies, and two products a sweep contract its last mode, for the first, and its first mode, for the others.
 *
 * Sources: Phan, Tichavský, Cichocki, "Fast alternating LS algorithms for high order CANDECOMP/PARAFAC tensor
 * factorizations", IEEE Trans. Signal Processing 61(19), 2013; Ma, Solomonik, "Efficient parallel CP decomposition with
 * pairwise perturbation and multi-sweep dimension tree", IPDPS 2021.
 */
import { sizeOf } from '../../tensor/index.ts'
import type { Contraction, ContractionOutputs, ContractionSpec, UpdateEquations } from '../contraction.ts'
import type { MatrixEngine } from '../matrix.ts'
import { transposed } from '../matrix-layout.ts'
import type { Reals } from './cp-options.ts'
import { solveUpdate } from './normal-equations.ts'
import { contractFirst, contractRest, khatriRaoRows, plainContraction } from './plain-contraction.ts'

/** An update of a factor: what {@link Contraction} gives, `rest` kept here. */
export interface FactorUpdate<T extends Reals> {
  /** M `[rank, extent]` */
  readonly mttkrp: T
  /** `[rank, extent]` */
  readonly factor: T
  /** `[rank, rank]` */
  readonly gram: Float64Array
}

/** The tensor with some modes contracted. */
interface Partial<T extends Reals> {
  /** Modes left, in the order of the data. */
  readonly left: readonly number[]
  /** Modes contracted, and the factors they were contracted with. */
  readonly done: readonly (readonly [mode: number, factor: T])[]
  /** `[rank, Π left]` */
  readonly data: T
}

/** Multiply-adds of the large product that take the time of writing or reading one number. */
const PASS = 12
/** The same for making a number of a Khatri–Rao product. */
const MAKE = 40

/** Up to so many sweeps, copies of the tensor cost more than they save. */
const FEW_SWEEPS = 6

/** What a product that begins with some mode keeps and contracts. */
interface Turn<T extends Reals> {
  readonly kept: readonly number[]
  readonly contracted: readonly number[]
  readonly contraction: Contraction<T>
}

/** What a {@link DimensionTree} is made for. */
export interface DimensionTreeOptions {
  readonly shape: readonly number[]
  readonly rank: number
  /** Whether {@link DimensionTree.replace} will be called. */
  readonly changing: boolean
  /** How many sweeps there will be, at most. */
  readonly sweeps: number
}

/** MTTKRPs of one tensor, and updates of its factors. Factors are `[rank, extent]`, and replaced, never written to. */
export class DimensionTree<T extends Reals> {
  readonly #engine: MatrixEngine
  readonly #shape: readonly number[]
  readonly #rank: number
  readonly #changing: boolean
  /** Whether the tensor is contracted as it lies. */
  readonly #stays: boolean
  #data: T
  /** The changing tensor with mode n first. */
  readonly #turned = new Map<number, T>()
  readonly #turns = new Map<string, Promise<Turn<T>>>()
  #partial: Partial<T> | undefined

  /** @param data not written to. */
  constructor(engine: MatrixEngine, data: T, { shape, rank, changing, sweeps }: DimensionTreeOptions) {
    this.#engine = engine
    this.#shape = shape
    this.#rank = rank
    this.#changing = changing
    this.#stays = shape.length === 3 && !changing && sweeps <= FEW_SWEEPS
    this.#data = data
  }

  /** Puts other elements into the tensor. */
  replace(data: T): void {
    this.#data = data
    this.#turned.clear()
    this.#partial = undefined
  }

  /** Frees what the engine holds. */
  async release(): Promise<void> {
    for (const turn of this.#turns.values()) await (await turn).contraction.release()
    this.#turns.clear()
  }

  /** The MTTKRP of a mode, `[rank, i_n]`. */
  async mttkrp(mode: number, factors: readonly T[]): Promise<T> {
    const partial = this.#usable(mode, factors)
    if (partial) return this.#mttkrpOf(partial, factors)
    const turn = await this.#turn(mode, 1)
    const { mttkrp } = await this.#run(turn, factors, undefined)
    this.#partial = { left: [mode], done: turn.contracted.map((k) => [k, factors[k]!]), data: mttkrp }
    return mttkrp
  }

  /** Updates the factor of a mode. @returns what is to be put in its place. */
  async update(mode: number, factors: readonly T[], equations: UpdateEquations): Promise<FactorUpdate<T>> {
    const partial = this.#usable(mode, factors)
    if (partial) {
      const mttkrp = this.#mttkrpOf(partial, factors)
      const solved = await solveUpdate(this.#engine, equations, mttkrp)
      if (partial.left.length > 1) this.#partial = this.#withoutFirst(partial, solved.factor)
      return { mttkrp, ...solved }
    }
    const turn = this.#stays
      ? await this.#turnAsItLies(mode)
      : await this.#turn(mode, keptModes(this.#shape, mode, this.#rank))
    const { mttkrp, update, rest } = await this.#run(turn, factors, equations)
    const { factor, gram } = update!
    const done = turn.contracted.map((k) => [k, factors[k]!] as const)
    // As it lies, what is left of the first mode's product is not worth a pass: the next product serves both others.
    const goesOn = rest && !(this.#stays && mode === 0)
    this.#partial = goesOn
      ? { left: turn.kept.slice(1), done: [...done, [mode, factor]], data: rest }
      : { left: [mode], done, data: mttkrp }
    return { mttkrp, factor, gram }
  }

  #run(turn: Turn<T>, factors: readonly T[], equations: UpdateEquations | undefined): Promise<ContractionOutputs<T>> {
    const [first, ...others] = turn.kept
    return turn.contraction.run({
      others: others.map((k) => factors[k]!),
      contracted: turn.contracted.map((k) => factors[k]!),
      equations,
      data: this.#changing ? this.#turnedTo(first!) : undefined,
    })
  }

  /** The partial result with the mode first, if it comes from these factors. */
  #usable(mode: number, factors: readonly T[]): Partial<T> | undefined {
    let partial = this.#partial
    if (!partial?.left.includes(mode) || partial.done.some(([k, factor]) => factors[k] !== factor)) return undefined
    // Modes before it are not updated in their turn.
    while (partial.left[0] !== mode) partial = this.#withoutFirst(partial, factors[partial.left[0]!]!)
    return partial
  }

  #withoutFirst({ left, done, data }: Partial<T>, factor: T): Partial<T> {
    const [first, ...rest] = left
    return { left: rest, done: [...done, [first!, factor]], data: contractFirst(data, factor, this.#rank) }
  }

  #mttkrpOf({ left, data }: Partial<T>, factors: readonly T[]): T {
    if (left.length === 1) return data
    const others = left.slice(1).map((k) => factors[k]!)
    return contractRest(data, khatriRaoRows(others, this.#rank), this.#rank)
  }

  #turn(mode: number, count: number): Promise<Turn<T>> {
    const key = `${mode} ${count}`
    let turn = this.#turns.get(key)
    if (!turn) {
      turn = this.#prepare(mode, count)
      this.#turns.set(key, turn)
    }
    return turn
  }

  /** Mode 0 keeps 0 and 1 of three modes; 1 and 2 keep both, the one in question first, where the other may be. */
  #turnAsItLies(mode: number): Promise<Turn<T>> {
    if (mode === 0) return this.#turn(0, 2)
    if (mode === 2) return this.#turn(2, 1)
    const key = '1 as it lies'
    let turn = this.#turns.get(key)
    if (!turn) {
      const [p, q, r] = this.#shape as [number, number, number]
      const spec = { first: q, others: [r], contracted: [p], contractedFirst: true }
      turn = this.#contractionOf(spec, this.#data).then((contraction) => ({
        kept: [1, 2],
        contracted: [0],
        contraction,
      }))
      this.#turns.set(key, turn)
    }
    return turn
  }

  async #prepare(mode: number, count: number): Promise<Turn<T>> {
    const order = turnedModes(this.#shape.length, mode)
    const [kept, contracted] = [order.slice(0, count), order.slice(count)]
    const extents = (modes: readonly number[]): number[] => modes.map((k) => this.#shape[k]!)
    const spec = { first: this.#shape[mode]!, others: extents(kept.slice(1)), contracted: extents(contracted) }
    const contraction = await this.#contractionOf(spec, this.#changing ? this.#data : this.#turnedTo(mode))
    return { kept, contracted, contraction }
  }

  async #contractionOf(
    extents: Pick<ContractionSpec<T>, 'first' | 'others' | 'contracted' | 'contractedFirst'>,
    data: T,
  ): Promise<Contraction<T>> {
    const spec = { ...extents, data, rank: this.#rank, changing: this.#changing }
    return (await this.#engine.maybePrepareContraction?.(spec)) ?? plainContraction(this.#engine, spec)
  }

  /** The tensor with the mode first; kept only while it may be asked for again. */
  #turnedTo(mode: number): T {
    const known = mode === 0 ? this.#data : this.#turned.get(mode)
    if (known) return known
    const rows = sizeOf(this.#shape.slice(0, mode))
    const { data } = transposed({ rows, cols: this.#data.length / rows, data: this.#data })
    if (this.#changing) this.#turned.set(mode, data)
    return data
  }
}

function turnedModes(order: number, first: number): number[] {
  return Array.from({ length: order }, (_, k) => (first + k) % order)
}

/** How many modes from one on a product should keep, so that the time per update is least. */
function keptModes(shape: readonly number[], first: number, rank: number): number {
  const extents = turnedModes(shape.length, first).map((mode) => shape[mode]!)
  const size = sizeOf(extents)
  let best = { count: 1, cost: Number.POSITIVE_INFINITY }
  let rows = 1
  for (let count = 1; count < extents.length; count++) {
    rows *= extents[count - 1]!
    const passes = count === 1 ? 0 : 3 * PASS * rows * rank
    const made = count === extents.length - 1 ? 0 : MAKE * (size / rows) * rank
    const cost = (size * rank + passes + made) / count
    if (cost < best.cost) best = { count, cost }
  }
  return best.count
}
