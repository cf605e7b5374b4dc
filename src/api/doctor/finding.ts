/** What the doctor says. */

/** What is wrong, for programs. */
export type FindingCode =
  /** The model holds integer layers or QuantizeLinear nodes already. */
  | 'already-quantized'
  /** Nothing in the model has an integer form. */
  | 'nothing-to-quantize'
  /** Weights or inputs are not of type float32. */
  | 'not-float32'
  /** The chosen types need a later operator set. */
  | 'opset-too-low'
  /** An axis other than the first is open. */
  | 'dynamic-shape'
  /** NaN or infinity in weights, inputs or activations. */
  | 'not-finite'
  /** A batch normalisation that cannot be folded, or is not going to be. */
  | 'batch-norm-unfolded'
  /** One scale for all channels of a depthwise convolution. */
  | 'per-tensor-depthwise'
  /** One scale for channels whose weights differ much in size. */
  | 'uneven-channels'
  /** Fewer samples than ranges can be found from. */
  | 'too-few-samples'
  /** All samples are the same. */
  | 'identical-samples'
  /** An input, or a channel of it, has one value throughout. */
  | 'constant-input'
  /** Inputs lie outside of what the model declares. */
  | 'input-out-of-range'
  /** Inputs are pixels of 0 … 255 and nothing says that the model wants them so. */
  | 'raw-pixels'
  /** What reaches a batch normalisation does not look like what it was trained on. */
  | 'batch-norm-mismatch'
  /** A few elements are far larger than all others. */
  | 'activation-outliers'
  /** Channels that are zero on all samples. */
  | 'dead-channels'

/** One thing that usually goes wrong when a network is quantized. */
export type Finding = {
  readonly code: FindingCode
  /** `error`: quantizing will fail or give nonsense. `warning`: it will cost accuracy. `note`: worth knowing. */
  readonly severity: 'error' | 'warning' | 'note'
  /** Names of nodes, weights or values, the worst first. */
  readonly where: readonly string[]
  /** A sentence: what was found, with numbers. */
  readonly found: string
  /** A sentence: what to do. */
  readonly advice: string
}

/** A number for a sentence. */
export function shortNumber(value: number): string {
  const size = Math.abs(value)
  if (size === 0) return '0'
  return size >= 1e-3 && size < 1e5 ? String(Number(value.toPrecision(3))) : value.toExponential(1)
}

/** Names in quotes, not too many of them. */
export function quoteSome(names: readonly string[]): string {
  const shown = names.slice(0, names.length > 3 ? 2 : 3).map((name) => `'${name}'`)
  return names.length > 3 ? `${shown.join(', ')} and ${names.length - 2} more` : shown.join(', ')
}
