/**
 * Learning rates as pure functions of the step, so that a resumed run needs no state for them.
 *
 * Sources: PyTorch's `StepLR`, `CosineAnnealingLR`, `LinearLR` and `OneCycleLR`, stepped once per training step;
 * Loshchilov, Hutter, "SGDR", 2017 (cosine); Smith, Topin, "Super-Convergence", 2018 (one cycle).
 */
import { fail } from '../core/index.ts'

/** How the learning rate changes over a run. */
export type Schedule = {
  /**
   * - `constant`: the base rate;
   * - `step`: times `gamma` after every `every` of the run;
   * - `cosine`: half a cosine from the base rate down to `final` times it;
   * - `one-cycle`: from the base rate / `divide` up to the base rate within the first `rise` of the run, then down to
   *   the start / `finalDivide`, both as half a cosine.
   */
  readonly kind: 'constant' | 'step' | 'cosine' | 'one-cycle'
  /** Share of the run, 0 … 1, over which the rate grows linearly from nothing, on top of the kind; default 0. */
  readonly warmup?: number
  /** `step`: share of the run between drops, or the shares at which the rate drops; default 1/3. */
  readonly every?: number | readonly number[]
  /** `step`: factor of a drop; default 0.1. */
  readonly gamma?: number
  /** `cosine`: what is left of the base rate at the end, as a factor; default 0. */
  readonly final?: number
  /** `one-cycle`: share of the run that the rate rises; default 0.3. */
  readonly rise?: number
  /** `one-cycle`: base rate / rate at the start; default 25. */
  readonly divide?: number
  /** `one-cycle`: rate at the start / rate at the end; default 10,000. */
  readonly finalDivide?: number
}

const KINDS = ['constant', 'step', 'cosine', 'one-cycle'] as const

/** What each kind has beside `warmup`. */
const SETTINGS: Readonly<Record<Schedule['kind'], readonly string[]>> = {
  constant: [],
  step: ['every', 'gamma'],
  cosine: ['final'],
  'one-cycle': ['rise', 'divide', 'finalDivide'],
}

/** Half a cosine from `from` to `to` at `share` 0 … 1 of the way. */
function anneal(from: number, to: number, share: number): number {
  return to + ((from - to) / 2) * (1 + Math.cos(Math.PI * share))
}

function drops(every: number | readonly number[], share: number): number {
  // A share that is a rounded fraction (1/3) counts as reached at its step.
  const reached = share + 1e-9
  return typeof every === 'number' ? Math.floor(reached / every) : every.filter((at) => reached >= at).length
}

function factorOf(schedule: Schedule, step: number, steps: number): number {
  const { kind, every = 1 / 3, gamma = 0.1, final = 0, rise = 0.3, divide = 25, finalDivide = 1e4 } = schedule
  if (kind === 'step') return gamma ** drops(every, step / steps)
  if (kind === 'cosine') return anneal(1, final, step / steps)
  if (kind === 'constant') return 1
  const top = rise * steps - 1
  const last = steps - 1
  if (step <= top || last <= top) return anneal(1 / divide, 1, top <= 0 ? 1 : Math.min(1, step / top))
  return anneal(1, 1 / divide / finalDivide, (step - top) / (last - top))
}

/**
 * The learning rate of a step.
 *
 * @param base the optimizer's learning rate; for `one-cycle` the highest.
 * @param step from 0.
 * @param steps of the whole run.
 */
export function learningRate(schedule: Schedule, base: number, step: number, steps: number): number {
  const warmupSteps = Math.round((schedule.warmup ?? 0) * steps)
  const warm = step < warmupSteps ? (step + 1) / (warmupSteps + 1) : 1
  return base * warm * factorOf(schedule, step, steps)
}

/** Checks a schedule. @throws WhittleError `INVALID_ARGUMENT` naming the field. */
export function checkSchedule(schedule: Schedule): void {
  const { kind, warmup = 0, every, gamma = 0.1, final = 0, rise = 0.3, divide = 25, finalDivide = 1e4 } = schedule
  if (!KINDS.includes(kind))
    fail('INVALID_ARGUMENT', `Schedule: kind must be one of ${KINDS.join(', ')}; got '${String(kind)}'.`)
  const within = (name: string, value: number, low: number, high: number): void => {
    if (!(value >= low && value <= high))
      fail('INVALID_ARGUMENT', `Schedule '${kind}': ${name} must be ${low} … ${high}; got ${value}.`)
  }
  within('warmup', warmup, 0, 1)
  within('gamma', gamma, 0, 1)
  within('final', final, 0, 1)
  within('rise', rise, 0, 1)
  within('divide', divide, 1, 1e12)
  within('finalDivide', finalDivide, 1, 1e12)
  for (const share of typeof every === 'number' ? [every] : (every ?? [])) within('every', share, 1e-6, 1)
}

/**
 * Reads a schedule as the command line has it: a kind, then settings: `cosine`, `step:every=0.3,gamma=0.1`,
 * `one-cycle:rise=0.2`, `cosine:warmup=0.05`, `step:every=0.5+0.75`.
 *
 * @throws WhittleError `INVALID_ARGUMENT` saying what is not understood.
 */
export function parseSchedule(text: string): Schedule {
  const [kind = '', ...rest] = text.split(':')
  const settings: Record<string, number | readonly number[]> = {}
  const known = Object.hasOwn(SETTINGS, kind) ? ['warmup', ...SETTINGS[kind as Schedule['kind']]] : undefined
  for (const part of rest.join(':').split(',')) {
    if (part === '') continue
    const [name = '', value = ''] = part.split('=')
    const numbers = value.split('+').map((item) => (item.trim() === '' ? Number.NaN : Number(item)))
    if (known && (!known.includes(name) || !numbers.every(Number.isFinite) || (numbers.length > 1 && name !== 'every')))
      fail(
        'INVALID_ARGUMENT',
        `Schedule '${text}': '${part}' is not understood; settings of ${kind} are ${known.map((item) => `${item}=NUMBER`).join(', ')}.`,
      )
    settings[name] = numbers.length > 1 ? numbers : numbers[0]!
  }
  const schedule = { kind: kind as Schedule['kind'], ...settings }
  checkSchedule(schedule)
  return schedule
}
