/** Numbers for people. Exact values belong into JSON. */

const STEPS: readonly [number, string][] = [
  [1e12, 'T'],
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
]

/** Three significant digits, without an exponent. */
function threeDigits(value: number): string {
  const magnitude = Math.abs(value)
  return value.toFixed(magnitude >= 99.95 ? 0 : magnitude >= 9.995 ? 1 : 2)
}

function scaled(value: number, unit: string): string {
  for (const [step, prefix] of STEPS)
    if (Math.abs(value) >= step * 0.9995) return `${threeDigits(value / step)} ${prefix}${unit}`
  return unit === '' ? String(value) : `${value} ${unit}`
}

/** A count with a decimal prefix: `40.8 M`, `272 k`, `16`; `?` when it is not known. */
export function formatCount(count: number | null): string {
  return count === null ? '?' : scaled(count, '')
}

/** Bytes with a decimal prefix: `1.09 MB`; `?` when they are not known. */
export function formatBytes(bytes: number | null): string {
  return bytes === null ? '?' : scaled(bytes, 'B')
}

/** A time given in milliseconds: `0.412 ms`, `12.3 ms`, `4.2 s`, `3 min 20 s`. */
export function formatMilliseconds(milliseconds: number): string {
  if (milliseconds < 1) return `${milliseconds.toFixed(3)} ms`
  if (milliseconds < 999.5) return `${threeDigits(milliseconds)} ms`
  const seconds = milliseconds / 1000
  if (seconds < 99.95) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  const minutes = Math.round(whole / 60)
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** A share as a percentage with two digits: 0.917 is `91.70 %`. */
export function formatPercent(share: number): string {
  return `${(share * 100).toFixed(2)} %`
}

/** What became of a number, relative to what it was: `−52.1 %`, `+3.0 %`, `±0 %`; `?` when either is not known. */
export function formatChange(before: number | null, after: number | null): string {
  if (before === null || after === null || before === 0) return '?'
  const percent = ((after - before) / before) * 100
  if (Math.abs(percent) < 0.05) return '±0 %'
  return `${percent < 0 ? '−' : '+'}${Math.abs(percent).toFixed(1)} %`
}

/** A relative error with three significant digits: `0.0312`, `4.1e-7`, `0`. */
export function formatError(error: number): string {
  if (error === 0) return '0'
  return error >= 0.001 && error < 1000 ? error.toPrecision(3) : error.toExponential(1)
}

/** A shape in brackets: `[1, 3, 32, 32]`, unknown axes as `?`. */
export function formatShape(shape: readonly (number | string | null)[] | undefined): string {
  return shape === undefined ? '?' : `[${shape.map((extent) => extent ?? '?').join(', ')}]`
}
