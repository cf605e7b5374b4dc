/**
 * Minimum of a function of one variable on an interval: golden section with parabolic steps.
 *
 * The same iterates as the classical `fmin` (and so as scipy's `fminbound`), because AMCT's ranks depend on where the
 * search stops, not only on where the minimum is.
 *
 * Source: Brent, "Algorithms for Minimization without Derivatives", 1973, chapter 5; Forsythe, Malcolm, Moler,
 * "Computer Methods for Mathematical Computations", 1977, section 8.2.
 */

/** Options of {@link minimizeBounded}. */
export interface MinimizeBoundedOptions {
  /** Absolute tolerance of the minimiser; default 1e-5. */
  readonly tolerance?: number
  /** Most evaluations of the function; default 500. */
  readonly maxEvaluations?: number
}

/** Where the search stopped. */
export interface BoundedMinimum {
  readonly x: number
  readonly value: number
  readonly evaluations: number
  /** Whether it stopped because of the tolerance and not because of the number of evaluations. */
  readonly converged: boolean
}

const GOLDEN = (3 - Math.sqrt(5)) / 2
const SQRT_EPSILON = Math.sqrt(2.2e-16)

const signNotZero = (x: number): number => (x < 0 ? -1 : 1)

/**
 * The step of the parabola through three points `(x, fx)`, `(w, fw)`, `(v, fv)`, measured from `x`, as a fraction
 * `numerator / denominator` with a denominator that is not negative.
 */
function parabolicStep(x: number, fx: number, w: number, fw: number, v: number, fv: number): [number, number] {
  const r = (x - w) * (fx - fv)
  const q = (x - v) * (fx - fw)
  const denominator = 2 * (q - r)
  const numerator = (x - v) * q - (x - w) * r
  return denominator > 0 ? [-numerator, denominator] : [numerator, -denominator]
}

/**
 * A local minimum of `f` on `[low, high]`; the global one when `f` has one valley.
 *
 * @param f finite inside the interval; never evaluated at its ends.
 * @example
 * const { x } = minimizeBounded((value) => (value - 2) ** 2, 0, 5)
 * console.log(x.toFixed(3))
 */
export function minimizeBounded(
  f: (x: number) => number,
  low: number,
  high: number,
  { tolerance = 1e-5, maxEvaluations = 500 }: MinimizeBoundedOptions = {},
): BoundedMinimum {
  let x = low + GOLDEN * (high - low)
  let fx = f(x)
  // w and v: the second and third best points so far.
  let [w, fw, v, fv] = [x, fx, x, fx]
  let step = 0
  let previousStep = 0
  let evaluations = 1
  for (;;) {
    const middle = 0.5 * (low + high)
    const least = SQRT_EPSILON * Math.abs(x) + tolerance / 3
    if (Math.abs(x - middle) <= 2 * least - 0.5 * (high - low)) return { x, value: fx, evaluations, converged: true }
    if (evaluations >= maxEvaluations) return { x, value: fx, evaluations, converged: false }

    let golden = true
    if (Math.abs(previousStep) > least) {
      const [p, q] = parabolicStep(x, fx, w, fw, v, fv)
      const before = previousStep
      previousStep = step
      if (Math.abs(p) < Math.abs(0.5 * q * before) && p > q * (low - x) && p < q * (high - x)) {
        golden = false
        step = p / q
        const next = x + step
        if (next - low < 2 * least || high - next < 2 * least) step = least * signNotZero(middle - x)
      }
    }
    if (golden) {
      previousStep = x >= middle ? low - x : high - x
      step = GOLDEN * previousStep
    }

    const u = x + signNotZero(step) * Math.max(Math.abs(step), least)
    const fu = f(u)
    evaluations++
    if (fu <= fx) {
      if (u >= x) low = x
      else high = x
      ;[v, fv, w, fw, x, fx] = [w, fw, x, fx, u, fu]
    } else {
      if (u < x) low = u
      else high = u
      if (fu <= fw || w === x) [v, fv, w, fw] = [w, fw, u, fu]
      else if (fu <= fv || v === x || v === w) [v, fv] = [u, fu]
    }
  }
}
