/**
 * The port for updates of CP factors next to a large tensor: what `engine/` runs as one graph, so that the partial
 * result between the two contractions of an update never leaves the runtime.
 */

/** A tensor `[first, …others, …contracted]`, or with the contracted modes first, that factors are updated with. */
export interface ContractionSpec<T extends Float32Array | Float64Array> {
  /** Row-major; not written to. */
  readonly data: T
  /** Extent of the mode that is updated. */
  readonly first: number
  /** Extents of the modes that the result keeps besides; may be empty. */
  readonly others: readonly number[]
  /** Extents of the modes that are contracted first; at least one. */
  readonly contracted: readonly number[]
  readonly rank: number
  /** Whether the contracted modes come first: `[…contracted, first, …others]`; default false. */
  readonly contractedFirst?: boolean | undefined
  /** Whether {@link ContractionInputs.data} will come with each run; then `data` here only says the type. */
  readonly changing: boolean
}

/** The normal equations of an update: A ← Wᵀ W (M + P). */
export interface UpdateEquations {
  /** W `[rank, rank]`, row-major, with Wᵀ W the inverse of the normal equations' matrix. */
  readonly whitening: Float64Array
  /** P `[rank, first]`; absent: zeros. */
  readonly pull?: Float64Array | undefined
}

/** The solution of an update. */
export interface SolvedUpdate<T extends Float32Array | Float64Array> {
  /** A `[rank, extent]`, rounded to the MTTKRP's type. */
  readonly factor: T
  /** A Aᵀ `[rank, rank]` of that factor. */
  readonly gram: Float64Array
}

/** What one run of a {@link Contraction} works with. Factors are `[rank, extent]`, components in rows. */
export interface ContractionInputs<T extends Float32Array | Float64Array> {
  readonly others: readonly T[]
  readonly contracted: readonly T[]
  /** Absent: only the MTTKRP is wanted. */
  readonly equations?: UpdateEquations | undefined
  /** The elements, where the spec says that they change. */
  readonly data?: T | undefined
}

/** What one run of a {@link Contraction} gives. */
export interface ContractionOutputs<T extends Float32Array | Float64Array> {
  /** M `[rank, first]`: the MTTKRP of the first mode. */
  readonly mttkrp: T
  /** With equations: the solution. */
  readonly update?: SolvedUpdate<T> | undefined
  /**
   * `[rank, Π others]`: the tensor with the contracted modes and, by the new factor, the first. Absent without equations
   * or others.
   */
  readonly rest?: T | undefined
}

/** A tensor made ready for updates. */
export interface Contraction<T extends Float32Array | Float64Array> {
  run(inputs: ContractionInputs<T>): Promise<ContractionOutputs<T>>
  /** Frees what the engine holds. */
  release(): Promise<void>
}
