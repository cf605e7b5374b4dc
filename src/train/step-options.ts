/** What a training step is made from. */
import type { GradientRules, Typed } from '../autodiff/index.ts'
import type { Model } from '../graph/index.ts'
import type { LossTerm } from './losses.ts'
import type { Lowering } from './lowering/index.ts'
import type { Clipping, Optimizer } from './optimizer.ts'
import type { ParameterGroup } from './parameters.ts'

/** What a training step does, apart from the model. */
export interface StepOptions {
  /** Terms of the loss. */
  readonly loss: readonly LossTerm[]
  /** The optimizer and its settings; `lr` in it is only a default for schedules. */
  readonly optimizer: Optimizer
  /** Output of the model that the loss is about; default: the first. */
  readonly output?: string | undefined
  /** The network whose outputs or inner values the loss compares with, and its types; constants as initializers. */
  readonly teacher?: { readonly model: Model; readonly types: ReadonlyMap<string, Typed> } | undefined
  /** Patterns of layers and parameters that stay as they are, their running statistics too. */
  readonly freeze?: readonly string[] | undefined
  /** Whether biases and other parameters of one axis or none are free of weight decay; default no, as in PyTorch. */
  readonly decayWeightsOnly?: boolean | undefined
  /** Initializers to train beside weights and biases, such as single numbers that nodes multiply with. */
  readonly parameters?: readonly string[] | undefined
  /** Settings for some parameters. */
  readonly groups?: readonly ParameterGroup[] | undefined
  /** Bounds on gradients; default none. */
  readonly clip?: Clipping | undefined
  /** Share of the old average that a step keeps, in 0 … 1, of an average of the weights; absent: no average. */
  readonly ema?: number | undefined
  /** Batches whose gradients are averaged for one step; default 1. */
  readonly accumulate?: number | undefined
  /**
   * Rewrites one batch's forward and backward pass, of standard operators, for the runtime that is used; values keep
   * their names. Default: as it is.
   */
  readonly lower?: ((model: Model, types: ReadonlyMap<string, Typed>) => Model) | undefined
  /** Gradient rules in the place of the standard ones, by operator; ahead of those of `lowering`. */
  readonly rules?: GradientRules | undefined
  /** Differentiates and rewrites the pass for kernels of one runtime; default: standard operators. */
  readonly lowering?: Lowering | undefined
  /** Statistics that batch normalisations use: the batch's, which are also learned (default), or the running ones. */
  readonly batchNorm?: 'batch' | 'running' | undefined
}
