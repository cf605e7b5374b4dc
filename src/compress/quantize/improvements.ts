/** What was done to a float network so that quantization loses less; its function stayed the same. */
import type { AbsorbRecord } from './absorb.ts'
import type { BalanceRecord } from './balance-model.ts'
import type { BiasCorrectionRecord } from './bias-correction.ts'
import type { EqualizeRecord } from './equalize.ts'

/** Records of the steps before and after calibration; those that were not asked for are absent. JSON. */
export type QuantizeImprovements = {
  /** Factors that moved between layers, by pair. */
  readonly equalized?: EqualizeRecord
  /** Constants that moved from biases into the next layer's. */
  readonly absorbed?: AbsorbRecord
  /** Factors between activations and weights, by layer: AMCT's `tensor_balance_factor`. */
  readonly balanced?: BalanceRecord
  /** What was added to biases for what rounding shifted. */
  readonly corrected?: BiasCorrectionRecord
}
