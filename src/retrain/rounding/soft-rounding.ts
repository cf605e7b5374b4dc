/**
 * Rounding that can be learned: w = s · clip(⌊w/s⌋ + h(α), least, most), where h goes smoothly from 0 to 1.
 *
 * Source: M. Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML 2020, equations 21–24:
 * h(α) = clip(σ(α)(ζ − γ) + γ, 0, 1) with ζ = 1.1, γ = −0.1, and the regularizer Σ 1 − |2h(α) − 1|^β, whose β falls so
 * that h is free at first and driven to 0 or 1 in the end.
 */
import type { Emitter } from '../../autodiff/index.ts'

const ZETA = 1.1
const GAMMA = -0.1

/** h(α), the share of a step by which a weight is rounded up. */
export function roundedShare(alpha: number): number {
  const sigmoid = 1 / (1 + Math.exp(-alpha))
  return Math.min(Math.max(sigmoid * (ZETA - GAMMA) + GAMMA, 0), 1)
}

/** The α whose h is a weight's own fraction. @param fraction in 0 … 1. */
export function alphaOf(fraction: number): number {
  return -Math.log((ZETA - GAMMA) / (fraction - GAMMA) - 1)
}

/** Emits h(α). @param alpha name of a float32 value. */
export function emitRoundedShare(emit: Emitter, alpha: string): string {
  const stretched = emit.add(emit.scale(emit.unary('Sigmoid', alpha), ZETA - GAMMA), emit.number(GAMMA, alpha))
  return emit.op('Clip', [stretched, emit.number(0, alpha), emit.number(1, alpha)], emit.shape(alpha))
}

/**
 * Emits the gradient of λ Σ (1 − |2h − 1|^β) by h: −2 λ β sign(2h − 1) |2h − 1|^(β−1).
 *
 * Written out, because differentiating the sum would compute the power twice, and it is most of what elements cost.
 *
 * @param strength λ, @param beta β: names of scalars.
 */
export function emitRegularizerGradient(emit: Emitter, share: string, strength: string, beta: string): string {
  const centred = emit.add(emit.scale(share, 2), emit.number(-1, share))
  const power = emit.binary('Pow', emit.unary('Abs', centred), emit.add(beta, emit.number(-1, share)))
  const factor = emit.mul(emit.scale(strength, -2), beta)
  return emit.mul(emit.mul(emit.unary('Sign', centred), power), factor)
}

/** How AdaRound's regularizer changes with the steps. */
export interface RoundingSchedule {
  /** Steps in all. */
  readonly steps: number
  /** λ. */
  readonly strength: number
  /** β at the start and in the end. */
  readonly betas: readonly [start: number, end: number]
  /** Share of the steps before the regularizer counts. */
  readonly warmUp: number
}

/** λ and β of a step, counted from 0: β falls by half a cosine after the warm-up. */
export function regularizerAt(schedule: RoundingSchedule, step: number): { strength: number; beta: number } {
  const { steps, strength, warmUp, betas } = schedule
  const start = warmUp * steps
  if (step < start) return { strength: 0, beta: betas[0] }
  const done = (step - start) / Math.max(steps - start, 1)
  return { strength, beta: betas[1] + 0.5 * (betas[0] - betas[1]) * (1 + Math.cos(Math.PI * done)) }
}
