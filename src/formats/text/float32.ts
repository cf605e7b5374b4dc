/** Numbers between float32 and decimal text. */

/** Greatest finite float32. */
export const MAX_FLOAT32 = (2 - 2 ** -23) * 2 ** 127

/**
 * The number with the fewest decimal digits that float32 rounds to the same value: 0.7 for the float32 nearest to 0.7.
 *
 * Six digits are always told apart by float32 (but for its least numbers), so that the search starts there.
 * Numbers that are not exact in float32, infinities and NaN are returned as they are.
 */
export function shortestFloat32(x: number): number {
  if (!Number.isFinite(x) || Math.fround(x) !== x) return x
  for (let digits = 6; digits < 9; digits++) {
    const candidate = Number(x.toPrecision(digits))
    if (Math.fround(candidate) === x) return candidate
  }
  return Number(x.toPrecision(9))
}

/** A number as Python writes it, recognisably no integer: `6.0`, `0.7`, `1e-07`, `1e+16`, `inf`, `nan`. */
export function floatText(x: number): string {
  if (Number.isNaN(x)) return 'nan'
  if (!Number.isFinite(x)) return x < 0 ? '-inf' : 'inf'
  const [digits, exponent] = x.toExponential().split('e') as [string, string]
  const power = Number(exponent)
  if (x !== 0 && (power < -4 || power >= 16))
    return `${digits}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`
  const text = Object.is(x, -0) ? '-0' : String(x)
  return text.includes('.') ? text : `${text}.0`
}
