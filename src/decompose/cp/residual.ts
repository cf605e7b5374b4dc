/** Errors of CP tensors. */
import { checkAborted } from '../../core/index.ts'
import type { MatrixEngine } from '../matrix.ts'
import { arrayLike, rowRange } from '../matrix-layout.ts'
import type { Reals } from './cp-options.ts'
import { khatriRaoRows } from './partial-sums.ts'

/** Elements of a reconstruction that exist at once. */
const CHUNK = 4 * 1024 * 1024

/**
 * Calls `visit` with the elements of a CP tensor, some slices of the first mode at a time.
 *
 * @param factors `[i_k, rank]` of every mode, row-major. @param visit is given a part and the place of its first element.
 */
export async function forEachPart<T extends Reals>(
  engine: MatrixEngine,
  shape: readonly number[],
  rank: number,
  factors: readonly T[],
  visit: (part: T, start: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  const rest = factors.slice(1).map((data, k) => ({ rows: shape[k + 1]!, data }))
  const side = khatriRaoRows(rest, rank)
  const right = arrayLike(factors[0]!, side.data.length)
  right.set(side.data)
  const left = { rows: shape[0]!, cols: rank, data: factors[0]! }
  const step = Math.max(1, Math.floor(CHUNK / side.rows))
  for (let row = 0; row < left.rows; row += step) {
    checkAborted(signal)
    const rows = rowRange(left, row, Math.min(left.rows, row + step))
    const { data } = await engine.multiply(rows, { rows: side.rows, cols: rank, data: right }, { transposeB: true })
    visit(data, row * side.rows)
  }
}

/** ‖X − X̂‖² over the observed elements, from the elements themselves. */
export async function squaredResidual<T extends Reals>(
  engine: MatrixEngine,
  { data, shape, rank, mask }: { data: T; shape: readonly number[]; rank: number; mask?: Uint8Array | undefined },
  factors: readonly T[],
  signal?: AbortSignal,
): Promise<number> {
  let sum = 0
  const visit = (part: T, start: number): void => {
    let chunk = 0
    for (let at = 0; at < part.length; at++) if (mask?.[start + at] !== 0) chunk += (data[start + at]! - part[at]!) ** 2
    sum += chunk
  }
  await forEachPart(engine, shape, rank, factors, visit, signal)
  return sum
}
