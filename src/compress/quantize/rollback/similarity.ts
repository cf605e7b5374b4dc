/**
 * AMCT's measure of how much a layer suffers: the cosine between its outputs before and after quantization, on the same
 * input, moved into 0 … 1.
 */

/** Sums over the elements of a value before (a) and after (b) quantization. */
export interface ProductSums {
  /** Σ a². */
  readonly reference: number
  /** Σ b². */
  readonly other: number
  /** Σ a·b. */
  readonly product: number
}

/**
 * 0.5 + 0.5 · cos(a, b): 1 when nothing changed in direction, 0 when it turned round. Two zeros are equal (1); zero
 * against anything else has nothing in common with it (0).
 *
 * AMCT's own code answers 1 also where only `a` is zero; a layer that makes something of nothing is no good layer.
 */
export function quantizationSimilarity({ reference, other, product }: ProductSums): number {
  if (reference === 0 && other === 0) return 1
  if (reference === 0 || other === 0) return 0
  const cosine = product / (Math.sqrt(reference) * Math.sqrt(other))
  return 0.5 + 0.5 * Math.min(Math.max(cosine, -1), 1)
}
