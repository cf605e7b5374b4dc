/** Factors of one group's weight, fitted to the weight: the arrays of each stage, `[out, in, taps]`. */
import { leadingLeftSubspace, type Matrix, type MatrixEngine, partialTucker } from '../../decompose/index.ts'
import type { Site } from '../sites.ts'
import type { FormVariant, Ranks } from './forms.ts'
import { type GroupKernel, type Reals, splitMatrix, splitTaps, swapLeading } from './kernel.ts'

/** Stage weights by role, and the error of the weight they stand for. */
export interface GroupFactors {
  /** `[out, in, taps]` of each stage, by role. */
  readonly stages: Readonly<Record<string, Reals>>
  /** ‖W − Ŵ‖² and ‖W‖² of this group. */
  readonly squaredError: number
  readonly squaredNorm: number
}

/** Factors one group; the error is least for the given ranks (for Tucker-2, to alternating iterations). */
export function factorGroup(
  engine: MatrixEngine,
  kernel: GroupKernel,
  site: Site,
  variant: FormVariant,
  ranks: Ranks,
): Promise<GroupFactors> {
  switch (variant.form) {
    case 'tucker':
      return factorTucker(engine, kernel, ranks)
    case 'spatial':
      return factorSpatial(engine, kernel, site, variant, ranks)
    default:
      return variant.variant === 'kernel-last'
        ? factorKernelLast(engine, kernel, ranks)
        : factorKernelFirst(engine, kernel, ranks)
  }
}

/** Sum of squares in float64. */
export function squaredNorm(values: Reals): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]! * values[i]!
  return sum
}

async function factorTucker(engine: MatrixEngine, kernel: GroupKernel, ranks: Ranks): Promise<GroupFactors> {
  const { data, outputs, inputs, taps } = kernel
  const output = ranks.output!
  const input = ranks.input!
  const result = await partialTucker(engine, { data, dims: [outputs, inputs, taps] }, [output, input])
  const norm = squaredNorm(data)
  return {
    stages: {
      // factors are [channels, rank]: the first stage projects inputs on them, the last expands outputs.
      first: swapLeading(result.input.data, inputs, input, 1),
      core: result.core,
      last: result.output.data,
    },
    squaredError: result.relativeError ** 2 * norm,
    squaredNorm: norm,
  }
}

/** Projects `matrix` on its leading left subspace: `matrix ≈ basis @ rest`. */
async function project<T extends Reals>(
  engine: MatrixEngine,
  matrix: Matrix<T>,
  rank: number,
): Promise<{ basis: Matrix<T>; rest: Matrix<T>; squaredError: number; squaredNorm: number }> {
  const norm = squaredNorm(matrix.data)
  const basis = await leadingLeftSubspace(engine, matrix, rank)
  const rest = await engine.multiply(basis, matrix, { transposeA: true })
  // ‖M − U Uᵀ M‖² = ‖M‖² − ‖Uᵀ M‖²; near full rank the difference cancels, so it is computed directly.
  let error = norm - squaredNorm(rest.data)
  if (error < 1e-4 * norm) {
    const again = await engine.multiply(basis, rest)
    error = 0
    for (let i = 0; i < again.data.length; i++) error += (matrix.data[i]! - again.data[i]!) ** 2
  }
  return { basis, rest, squaredError: error, squaredNorm: norm }
}

/** The orthonormal factor sits on the shorter side; both orders give the same product. */
async function projectShorter<T extends Reals>(
  engine: MatrixEngine,
  matrix: Matrix<T>,
  rank: number,
): Promise<{ left: Matrix<T>; right: Matrix<T>; squaredError: number; squaredNorm: number }> {
  if (matrix.rows <= matrix.cols) {
    const { basis, rest, ...errors } = await project(engine, matrix, rank)
    return { left: basis, right: rest, ...errors }
  }
  const { basis, rest, ...errors } = await project(engine, transpose(matrix), rank)
  return { left: transpose(rest), right: transpose(basis), ...errors }
}

function transpose<T extends Reals>(matrix: Matrix<T>): Matrix<T> {
  return { rows: matrix.cols, cols: matrix.rows, data: swapLeading(matrix.data, matrix.rows, matrix.cols, 1) }
}

async function factorKernelFirst(engine: MatrixEngine, kernel: GroupKernel, ranks: Ranks): Promise<GroupFactors> {
  const { outputs, inputs, taps, data } = kernel
  const { left, right, ...errors } = await projectShorter(
    engine,
    { rows: outputs, cols: inputs * taps, data },
    ranks.rank!,
  )
  return { stages: { first: right.data, last: left.data }, ...errors }
}

async function factorKernelLast(engine: MatrixEngine, kernel: GroupKernel, ranks: Ranks): Promise<GroupFactors> {
  const { outputs, inputs, taps, data } = kernel
  const rank = ranks.rank!
  const unfolded = swapLeading(data, outputs, inputs, taps)
  const matrix = { rows: inputs, cols: outputs * taps, data: unfolded }
  const { left, right, ...errors } = await projectShorter(engine, matrix, rank)
  return {
    stages: {
      first: swapLeading(left.data, inputs, rank, 1),
      // [r, (o, t)] → [o, r, t]
      last: swapLeading(right.data, rank, outputs, taps),
    },
    ...errors,
  }
}

async function factorSpatial(
  engine: MatrixEngine,
  kernel: GroupKernel,
  site: Site,
  variant: FormVariant,
  ranks: Ranks,
): Promise<GroupFactors> {
  const rank = ranks.rank!
  const split = splitTaps(site.kernel, variant.stages(ranks)[0]!.carries)
  const matrix = splitMatrix(kernel, split)
  const { left, right, ...errors } = await projectShorter(engine, matrix, rank)
  return {
    stages: {
      // [(i, a), r] → [r, (i, a)]
      first: swapLeading(left.data, matrix.rows, rank, 1),
      // [r, (o, b)] → [o, r, b]
      last: swapLeading(right.data, rank, kernel.outputs, split.restCount),
    },
    ...errors,
  }
}
