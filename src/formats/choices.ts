/**
 * What a foreign configuration asks of quantization, in this package's words.
 *
 * Layers are named by node and activations by value, as {@link planQuantize} takes them. What is the same for every
 * layer of the file stands for each of them: a file decides about the layers it names, and about nothing else.
 */
import type { ActivationChoice, CalibratorOptions, LayerChoice, Range } from '../compress/index.ts'
import type { TextSource } from './source.ts'

/** AdaRound's parameters for one layer. */
export interface AdaRoundChoice {
  readonly iterations: number
  /** Weight of the term that pushes the rounding to 0 or 1. */
  readonly regularization: number
  /** Exponent of that term, from first to last. */
  readonly beta: readonly [start: number, end: number]
  /** Share of the iterations before the term sets in. */
  readonly warmStart: number
}

/** How one layer learns in quantization-aware training; its bits are among the other choices. */
export interface RetrainChoice {
  /** Range to start from; absent: calibrated. */
  readonly clip?: Range | undefined
  /** Whether the lower end stays at zero; absent: when the layer before gives no negative numbers. */
  readonly fixedMin?: boolean | undefined
  /** How weights' scales are found: from the weight at every step, or learned. */
  readonly weights: 'arq' | 'ulq'
}

/** A foreign configuration in this package's words. */
export interface QuantizationChoices {
  /** Nodes to quantize; `undefined`: the file does not choose among them. */
  readonly nodes: readonly string[] | undefined
  /** Nodes that the file leaves out, with the reason. */
  readonly excluded: ReadonlyMap<string, string>
  /** Weights, by node. */
  readonly layers: ReadonlyMap<string, LayerChoice>
  /** Activations, by value. */
  readonly tensors: ReadonlyMap<string, ActivationChoice>
  /** How the ranges of activations are found, by value. */
  readonly calibration: ReadonlyMap<string, CalibratorOptions>
  /** Ranges that need not be found, by value. */
  readonly ranges: ReadonlyMap<string, Range>
  /** Migration strengths of balanced layers, by node. */
  readonly balance: ReadonlyMap<string, number>
  /** Layers whose rounding is learned, by node. */
  readonly adaRound: ReadonlyMap<string, AdaRoundChoice>
  /** Numbers of levels of non-uniform weights, by node. */
  readonly levels: ReadonlyMap<string, number>
  /** Layers for quantization-aware training, by node; empty for other files. */
  readonly retrain: ReadonlyMap<string, RetrainChoice>
  /** Batches of data to calibrate with; `undefined`: the file does not say. */
  readonly batches: number | undefined
  /** Layers that a batch normalisation behind them is not folded into; `'all'` of them, or by node. */
  readonly unfolded: 'all' | readonly string[]
  /** What could not be taken over as written. */
  readonly warnings: readonly string[]
}

/** Nothing chosen. */
export const NO_CHOICES: QuantizationChoices = {
  nodes: undefined,
  excluded: new Map(),
  layers: new Map(),
  tensors: new Map(),
  calibration: new Map(),
  ranges: new Map(),
  balance: new Map(),
  adaRound: new Map(),
  levels: new Map(),
  retrain: new Map(),
  batches: undefined,
  unfolded: [],
  warnings: [],
}

/** A configuration file, told by its contents. */
export interface QuantizationConfigFile {
  readonly format:
    | 'amct-json'
    | 'amct-cfg'
    | 'amct-retrain-json'
    | 'amct-retrain-cfg'
    | 'amct-record'
    | 'tensor-quant-overrides'
  readonly choices: QuantizationChoices
  readonly source: TextSource
}
