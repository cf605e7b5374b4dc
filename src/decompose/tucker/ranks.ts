/** Ranks of partial Tucker decompositions. */
import { fail } from '../../core/index.ts'
import { type RankRule, sizeOf } from '../../tensor/index.ts'
import { shapeText } from '../real-tensor.ts'

/**
 * Throws unless the modes are different modes of the shape.
 *
 * @throws WhittleError `INVALID_ARGUMENT`.
 */
export function checkModes(shape: readonly number[], modes: readonly number[], what: string, name: string): void {
  const wrong = modes.find((mode) => !(Number.isInteger(mode) && mode >= 0 && mode < shape.length))
  if (wrong !== undefined)
    fail(
      'INVALID_ARGUMENT',
      `${what} of ${shapeText(shape)}: ${name} must be modes between 0 and ${shape.length - 1}; got ${wrong}.`,
    )
  if (new Set(modes).size !== modes.length)
    fail(
      'INVALID_ARGUMENT',
      `${what} of ${shapeText(shape)}: ${name} must be different modes; got ${shapeText(modes)}.`,
    )
}

/**
 * The ranks of the given modes that a rule asks for, lowered to the extents.
 *
 * A fraction gives ranks c · i_k such that core and factors have that fraction of the parameters.
 *
 * @param rank one integer: for every mode; a list: one per mode of `modes`.
 * @throws WhittleError `RANK_OUT_OF_RANGE`.
 */
export function partialRanks(
  shape: readonly number[],
  modes: readonly number[],
  rank: RankRule | readonly number[],
  what: string,
): number[] {
  const extents = modes.map((mode) => shape[mode]!)
  if (typeof rank !== 'object' && !Number.isInteger(rank)) {
    const fraction = rank === 'same' ? 1 : rank
    if (typeof fraction !== 'number' || !(fraction > 0 && fraction < Number.POSITIVE_INFINITY))
      refuse(shape, rank, what)
    const scale = proportion(sizeOf(shape), extents, fraction)
    return extents.map((extent) => Math.min(extent, Math.max(1, Math.round(extent * scale))))
  }
  const ranks = typeof rank === 'object' ? rank : modes.map(() => rank as number)
  if (ranks.length !== modes.length || !ranks.every((r) => Number.isSafeInteger(r) && r >= 1)) refuse(shape, rank, what)
  return ranks.map((r, k) => Math.min(r, extents[k]!))
}

function refuse(shape: readonly number[], rank: RankRule | readonly number[], what: string): never {
  const got = typeof rank === 'object' ? shapeText(rank) : typeof rank === 'string' ? `'${rank}'` : rank
  return fail(
    'RANK_OUT_OF_RANGE',
    `${what} of ${shapeText(shape)}: ranks must be one positive integer per mode, one for all, 'same', or a fraction of ` +
      `the parameters; got ${got}.`,
  )
}

/** c with size · c^n + c Σ i² = fraction · size; the left side grows with c. */
function proportion(size: number, extents: readonly number[], fraction: number): number {
  const squares = extents.reduce((sum, extent) => sum + extent * extent, 0)
  let [low, high] = [0, Math.max(1, fraction)]
  // Bisection down to neighbouring numbers.
  for (;;) {
    const middle = (low + high) / 2
    if (middle <= low || middle >= high) return high
    if (size * middle ** extents.length + squares * middle < fraction * size) low = middle
    else high = middle
  }
}
