/**
 * Losses as pieces of graph. Each is one number: a mean over the batch, by PyTorch's formulas and reductions.
 *
 * Sources: Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7 (label smoothing); Hinton, Vinyals,
 * Dean, "Distilling the Knowledge in a Neural Network", 2015 (temperature); Romero et al., "FitNets", 2015 (features).
 */
import type { Emitter } from '../autodiff/index.ts'
import { fail } from '../core/index.ts'
import { sizeOf } from '../tensor/index.ts'

/** One term of a loss; `weight` is its factor in the sum, default 1. */
export type LossTerm =
  /** `−mean_n Σ_c t log softmax(z)`, `t` the labels' one-hot rows mixed with `labelSmoothing` (0 … 1, default 0) / C. */
  | { readonly kind: 'cross-entropy'; readonly weight?: number; readonly labelSmoothing?: number }
  /** Mean squared difference of the output to the labels' one-hot rows, or to the teacher's output of any shape. */
  | { readonly kind: 'mse'; readonly weight?: number; readonly against?: 'labels' | 'teacher' }
  /**
   * `T² · mean_n KL(softmax(teacher / T) ‖ softmax(z / T))`; `temperature` T above 0, default 4. T² keeps the gradients
   * as large as those of the labels.
   */
  | { readonly kind: 'distillation'; readonly weight?: number; readonly temperature?: number }
  /**
   * Mean of the squared differences of inner values to the teacher's, over the mean of the teacher's squares, so that
   * layers count alike whatever their scale; the mean over `layers`.
   */
  | { readonly kind: 'features'; readonly weight?: number; readonly layers: readonly FeaturePair[] }

/** A value or node of the student and the one of the teacher it should resemble; equal names need be given once. */
export type FeaturePair = string | { readonly student: string; readonly teacher: string }

/** Whether a term needs labels, a teacher's outputs or its inner values. */
export function needsOf(term: LossTerm): 'labels' | 'teacher' | 'features' {
  if (term.kind === 'features') return 'features'
  if (term.kind === 'distillation') return 'teacher'
  if (term.kind === 'mse') return term.against ?? 'labels'
  return 'labels'
}

/** Checks terms. @throws WhittleError `INVALID_ARGUMENT`. */
export function checkLoss(terms: readonly LossTerm[]): void {
  if (terms.length === 0) fail('INVALID_ARGUMENT', 'Loss: there must be at least one term.')
  for (const term of terms) {
    const { kind, weight = 1 } = term
    if (!['cross-entropy', 'mse', 'distillation', 'features'].includes(kind))
      fail(
        'INVALID_ARGUMENT',
        `Loss: kind must be one of cross-entropy, mse, distillation, features; got '${String(kind)}'.`,
      )
    if (!(Number.isFinite(weight) && weight >= 0))
      fail('INVALID_ARGUMENT', `Loss '${kind}': weight must be a number of at least 0; got ${weight}.`)
    if (kind === 'cross-entropy' && !((term.labelSmoothing ?? 0) >= 0 && (term.labelSmoothing ?? 0) < 1))
      fail(
        'INVALID_ARGUMENT',
        `Loss '${kind}': labelSmoothing must be at least 0 and below 1; got ${term.labelSmoothing}.`,
      )
    if (kind === 'distillation' && !((term.temperature ?? 4) > 0))
      fail('INVALID_ARGUMENT', `Loss '${kind}': temperature must be above 0; got ${term.temperature}.`)
    if (kind === 'features' && term.layers.length === 0)
      fail('INVALID_ARGUMENT', `Loss '${kind}': layers must name at least one layer.`)
  }
}

/** The sum of everything, over `count`. */
function meanOver(emit: Emitter, x: string, count: number): string {
  const axes = [...emit.shape(x).keys()]
  return emit.scale(emit.sum(x, axes, false), 1 / count)
}

/** Rows of class scores: `[N, C]`, from `[N, C]` or `[N, C, 1, 1]`. */
export function rowsOfScores(emit: Emitter, scores: string, output: string): string {
  const [count = 0, classes = 0, ...rest] = emit.shape(scores)
  if (emit.shape(scores).length < 2 || sizeOf(rest) !== 1)
    fail(
      'SHAPE_MISMATCH',
      `Output '${output}': this loss needs class scores [N, C]; its shape is [${emit.shape(scores).join(', ')}]. Choose another output.`,
    )
  return emit.reshape(scores, [count, classes])
}

/**
 * Cross entropy of logits `[N, C]` with target rows `[N, C]` that sum to 1, such as one-hot rows.
 *
 * @returns a scalar.
 */
export function crossEntropy(emit: Emitter, logits: string, targets: string, labelSmoothing = 0): string {
  const [count = 1, classes = 1] = emit.shape(logits)
  const log = emit.unary('LogSoftmax', logits, { axis: 1 })
  const rows =
    labelSmoothing === 0
      ? targets
      : emit.add(emit.scale(targets, 1 - labelSmoothing), emit.number(labelSmoothing / classes, logits))
  return meanOver(emit, emit.mul(rows, log), -count)
}

/** Mean squared error of two values of one shape; a scalar. */
export function meanSquaredError(emit: Emitter, x: string, y: string): string {
  const difference = emit.sub(x, y)
  return meanOver(emit, emit.mul(difference, difference), sizeOf(emit.shape(x)))
}

/** Distillation of logits `[N, C]` from a teacher's, at temperature T; a scalar. See {@link LossTerm}. */
export function distillation(emit: Emitter, logits: string, teacher: string, temperature = 4): string {
  const [count = 1] = emit.shape(logits)
  const log = emit.unary('LogSoftmax', emit.scale(logits, 1 / temperature), { axis: 1 })
  const wanted = emit.unary('LogSoftmax', emit.scale(teacher, 1 / temperature), { axis: 1 })
  const share = emit.unary('Exp', wanted)
  return meanOver(emit, emit.mul(share, emit.sub(wanted, log)), count / temperature ** 2)
}

/** Distance of a feature to a teacher's, relative to the teacher's power; a scalar. */
export function featureDistance(emit: Emitter, student: string, teacher: string): string {
  const power = meanOver(emit, emit.mul(teacher, teacher), sizeOf(emit.shape(teacher)))
  // Features that are zero throughout give no distance instead of a division by zero.
  const least = emit.number(1e-12, teacher)
  return emit.div(meanSquaredError(emit, student, teacher), emit.binary('Add', power, least))
}

/** What losses are computed from. */
export interface LossInputs {
  /** Scores `[N, C]` before any softmax; throws where the output holds no scores. */
  readonly logits: () => string
  /** Scores as the model puts them out, for `mse`. */
  readonly output: string
  /** Target rows `[N, C]`. */
  readonly targets: string | undefined
  /** The teacher's logits and outputs. */
  readonly teacherLogits: string | undefined
  readonly teacherOutput: string | undefined
  /** Pairs of student's and teacher's values, by term. */
  readonly features: ReadonlyMap<LossTerm, readonly (readonly [string, string])[]>
}

/** The weighted sum of terms; a scalar. */
export function totalLoss(emit: Emitter, terms: readonly LossTerm[], inputs: LossInputs): string {
  const parts = terms.map((term) => emit.scale(lossOf(emit, term, inputs), term.weight ?? 1))
  return parts.length === 1 ? parts[0]! : emit.op('Sum', parts, [])
}

function lossOf(emit: Emitter, term: LossTerm, inputs: LossInputs): string {
  const { output, targets, teacherLogits, teacherOutput } = inputs
  switch (term.kind) {
    case 'cross-entropy':
      return crossEntropy(emit, inputs.logits(), targets!, term.labelSmoothing)
    case 'mse':
      return term.against === 'teacher'
        ? meanSquaredError(emit, output, teacherOutput!)
        : meanSquaredError(emit, rowsOfScores(emit, output, output), targets!)
    case 'distillation':
      return distillation(emit, inputs.logits(), teacherLogits!, term.temperature)
    case 'features': {
      const pairs = inputs.features.get(term)!
      const distances = pairs.map(([student, teacher]) => featureDistance(emit, student, teacher))
      return emit.scale(distances.length === 1 ? distances[0]! : emit.op('Sum', distances, []), 1 / distances.length)
    }
  }
}
