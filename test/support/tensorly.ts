/** What TensorLy computes, from the file that interop/python/tensor_algebra.py writes. */
import { readFileSync } from 'node:fs'
import { Tensor } from '../../src/tensor/index.ts'

/** A tensor in the file: float64, row-major. */
export interface Stored {
  readonly shape: readonly number[]
  readonly data: readonly number[]
}

interface Operations {
  readonly x: Stored
  readonly matrices: Stored[]
  readonly vectors: Stored[]
  readonly factors: Stored[]
  readonly weights: Stored
  readonly vec: Stored
  readonly unfold: Stored[]
  readonly modeDot: Stored[]
  readonly modeDotTranspose: Stored[]
  readonly modeDotVector: Stored[]
  readonly multiModeDot: Stored
  readonly multiModeDotSkip: Stored[]
  readonly multiModeDotVectors: Stored[]
  readonly multiModeDotTranspose: Stored
  readonly mttkrp: Stored[]
  readonly mttkrpPlain: Stored[]
  readonly norms: [number, number, number]
  readonly inner: number
  readonly innerWith: Stored
  readonly outer: Stored
  readonly partialUnfold?: Stored[]
  readonly partialUnfoldEnd?: Stored
  readonly partialVec?: Stored
  readonly khatriRao?: Stored
  readonly khatriRaoSkip?: Stored[]
  readonly kronecker?: Stored
  readonly kroneckerReverse?: Stored
  readonly matricize?: Stored
}

interface Full {
  readonly factors: Stored[]
  readonly tensor: Stored
  readonly unfolded: Stored[]
  readonly vec: Stored
  readonly norm: number
}

interface Ranks {
  readonly shape: number[]
  readonly rule: 'same' | number
  readonly rounding: 'round' | 'floor' | 'ceil'
  readonly cp: number
  readonly cpParameters: number
  readonly tucker: number[]
  readonly tuckerParameters: number
  readonly tt: number[]
  readonly ttParameters: number
  readonly ttConstant: number[]
  readonly ttExact: number[]
  readonly ttMatrix?: number[]
  readonly ttMatrixParameters?: number
}

interface Fixture {
  readonly operations: Operations[]
  readonly contractions: {
    readonly a: Stored
    readonly b: Stored
    readonly cases: { modes: [number[], number[]]; batched: [number[], number[]]; result: Stored }[]
    readonly innerTwo: Stored
  }
  readonly cp: (Full & {
    weights: Stored
    plain: Stored
    normalized: { weights: Stored; factors: Stored[] }
  })[]
  readonly tucker: (Full & {
    core: Stored
    skipped: Stored
    projected: Stored
    normalized: { core: Stored; factors: Stored[] }
  })[]
  readonly train: Full[]
  readonly trainMatrix: (Full & { matrix: Stored })[]
  readonly ranks: Ranks[]
}

const path = new URL('../fixtures/tensorly/tensor-algebra.json', import.meta.url)

/** The file. */
export const tensorly = JSON.parse(readFileSync(path, 'utf8')) as Fixture

/** A float64 tensor of the file. */
export function stored({ shape, data }: Stored): Tensor {
  return Tensor.of(Float64Array.from(data), shape)
}

/** The same in float32: small integers, so nothing is rounded. */
export function stored32({ shape, data }: Stored): Tensor {
  return Tensor.of(Float32Array.from(data), shape)
}
