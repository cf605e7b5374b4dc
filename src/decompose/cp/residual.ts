/** Elements of CP tensors, and their distance from others. */
import { checkAborted } from '../../core/index.ts'
import { sizeOf } from '../../tensor/index.ts'
import type { MatrixEngine } from '../matrix.ts'
import { rowRange, transposed } from '../matrix-layout.ts'
import type { Reals } from './cp-options.ts'
import { khatriRaoRows } from './plain-contraction.ts'

/** Elements of a reconstruction that exist at once. */
const CHUNK = 4 * 1024 * 1024

/** A CP tensor, components in rows. */
export interface RowFactors<T extends Reals> {
  readonly shape: readonly number[]
  readonly rank: number
  /** `[rank, i_k]` for every mode k. */
  readonly factors: readonly T[]
}

/**
 * Calls `visit` with the elements of a CP tensor in their order, a part at a time.
 *
 * @param visit is given a part and the place of its first element.
 */
export async function forEachPart<T extends Reals>(
  engine: MatrixEngine,
  { shape, rank, factors }: RowFactors<T>,
  visit: (part: T, start: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  // (the first modes' Khatri–Rao product)ᵀ @ (the others'), cut where the two are smallest.
  const rows = (cut: number): number => sizeOf(shape.slice(0, cut))
  const cols = (cut: number): number => sizeOf(shape.slice(cut))
  let cut = 1
  for (let k = 2; k < shape.length; k++) if (rows(k) + cols(k) < rows(cut) + cols(cut)) cut = k
  const left = transposed({ rows: rank, cols: rows(cut), data: khatriRaoRows(factors.slice(0, cut), rank) })
  const right = { rows: rank, cols: cols(cut), data: khatriRaoRows(factors.slice(cut), rank) }
  const step = Math.max(1, Math.floor(CHUNK / right.cols))
  for (let row = 0; row < left.rows; row += step) {
    checkAborted(signal)
    const { data } = await engine.multiply(rowRange(left, row, Math.min(left.rows, row + step)), right)
    visit(data, row * right.cols)
  }
}

/** ‖X − X̂‖² over the observed elements, from the elements themselves. @param mask 0 where they are missing. */
export async function squaredResidual<T extends Reals>(
  engine: MatrixEngine,
  { data, mask }: { readonly data: T; readonly mask?: Uint8Array | undefined },
  cp: RowFactors<T>,
  signal?: AbortSignal,
): Promise<number> {
  let sum = 0
  const visit = (part: T, start: number): void => {
    let chunk = 0
    for (let at = 0; at < part.length; at++) if (mask?.[start + at] !== 0) chunk += (data[start + at]! - part[at]!) ** 2
    sum += chunk
  }
  await forEachPart(engine, cp, visit, signal)
  return sum
}
