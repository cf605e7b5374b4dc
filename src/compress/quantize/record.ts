/** The record of a quantization: counts and compares, modifies nothing. */
import type { CompressionRecord, Cost, LayerRecord } from '../method.ts'
import type { QuantizeApplied } from './apply.ts'
import type { Quantization } from './scheme.ts'
import type { QuantizePlan, QuantizeStep } from './step.ts'

/** A layer's integers in words: `uint8 × int8 per channel`. */
export function describeScheme(step: QuantizeStep, activation: Quantization | undefined): string {
  const { type, bits, axis } = step.weight!.quantization
  const width = { int4: 4, uint4: 4, int8: 8, uint8: 8, int16: 16, uint16: 16 }[type]
  const weight = bits === width ? type : `${type} (${bits} bits)`
  return `${activation?.type ?? 'float'} × ${weight}${axis === null ? '' : ' per channel'}`
}

/**
 * Builds the record of an applied plan.
 *
 * @param inputs first input of each node of the planned model, by the node's name.
 * @param extra warnings besides the plan's.
 */
export function recordQuantize(
  version: string,
  plan: QuantizePlan,
  applied: QuantizeApplied,
  costs: {
    readonly before: Cost
    readonly after: Cost
    /** Multiply–accumulates of layers, by name. */
    readonly macs: ReadonlyMap<string, number | null>
  },
  inputs: ReadonlyMap<string, string>,
  extra: readonly string[] = [],
): CompressionRecord {
  const activations = new Map(plan.activations.map(({ tensor, quantization }) => [tensor, quantization]))
  return {
    whittle: version,
    method: plan.method,
    seed: plan.seed,
    plan,
    before: totals(costs.before),
    after: totals(costs.after),
    layers: applied.outcomes.map(({ step, parameters, bytes, relativeError, sqnr }): LayerRecord => {
      const macs = costs.macs.get(step.node) ?? null
      return {
        name: step.node,
        op: step.op,
        method: describeScheme(step, activations.get(inputs.get(step.node) ?? '')),
        ranks: {},
        parameters: { before: parameters, after: parameters },
        bytes,
        macs: { before: macs, after: macs },
        relativeError,
        sqnr,
        rounding: 'nearest',
      }
    }),
    skips: plan.skips,
    measured: [],
    warnings: [...plan.warnings, ...extra],
  }
}

/** The three numbers alone: callers may hand over costs with more in them, and records are JSON. */
function totals({ parameters, bytes, macs }: Cost): Cost {
  return { parameters, bytes, macs }
}
