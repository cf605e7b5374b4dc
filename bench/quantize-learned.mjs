// Variants of the quantization study that learn: rounding chosen on data, and quantization-aware training.

/** `[name, make]` of each; none where the library has none. */
export function learnedVariants() {
  return []
}
