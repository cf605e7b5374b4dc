/** Classification metrics, collected batch by batch. */
import { fail } from '../core/index.ts'
import { type Tensor, toFloat32 } from '../tensor/index.ts'

/** What a classifier got right. */
export interface Metrics {
  /** Share of samples whose class has the highest score, 0 … 1; ties go to the lower class index. */
  readonly top1: number
  /** Share of samples whose class is among the five highest; `null` with five classes or fewer, where it says nothing. */
  readonly top5: number | null
  /**
   * Mean cross entropy in nats. Outputs whose every row is ≥ 0 and sums to 1 (± 0.01) are taken as probabilities, not
   * below 1e-7; all others as logits.
   */
  readonly loss: number
  readonly samples: number
}

/** Collects {@link Metrics} over any number of batches; memory does not grow with them. */
export interface MetricsCollector {
  /**
   * Adds the scores of one run.
   *
   * @param scores `[N, C]`, or with further axes of extent 1 (`[N, C, 1, 1]`); `[C]` when `labels` has one element.
   *   Rows beyond `labels` are ignored.
   * @throws WhittleError `INVALID_DATA` when the shape is another, there are fewer rows than labels, or a label is not
   *   below C; `NOT_FINITE` for NaN or +∞ among the scores.
   */
  add(scores: Tensor, labels: Int32Array): void
  /** @throws WhittleError `INVALID_DATA` when nothing was added. */
  result(): Metrics
}

/** Probabilities below this count as this, so that one zero does not make the loss infinite. */
const LEAST_PROBABILITY = 1e-7

/** The rows and classes of an output. */
function extentsOf(shape: readonly number[], samples: number, name: string): { rows: number; classes: number } {
  const [first = 0, ...rest] = shape
  const long = rest.filter((extent) => extent !== 1)
  const isRow = shape.length === 1 && samples === 1
  const rows = isRow ? 1 : first
  const classes = isRow ? first : (long[0] ?? 1)
  if (long.length > 1 || classes < 2 || (shape.length < 2 && !isRow))
    fail(
      'INVALID_DATA',
      `Output '${name}' has shape [${shape.join(', ')}]; accuracy needs class scores [N, C] with two classes or more. ` +
        'Choose another output, or a model that classifies.',
    )
  if (rows < samples)
    fail(
      'INVALID_DATA',
      `Output '${name}' has ${rows} rows for ${samples} samples; it has no batch axis to match them.`,
    )
  return { rows, classes }
}

interface Row {
  readonly rank: number
  readonly logitLoss: number
  readonly probabilityLoss: number
  readonly isProbabilities: boolean
}

function measureRow(values: Float32Array, start: number, classes: number, label: number, where: string): Row {
  const own = values[start + label]!
  let rank = 0
  let highest = Number.NEGATIVE_INFINITY
  let sum = 0
  let lowest = Number.POSITIVE_INFINITY
  for (let c = 0; c < classes; c++) {
    const value = values[start + c]!
    if (Number.isNaN(value) || value === Number.POSITIVE_INFINITY)
      fail(
        'NOT_FINITE',
        `${where}, class ${c}: the score is ${value}. The model does not compute finite values on this data; check its ` +
          'weights and the preprocessing.',
      )
    if (value > own || (value === own && c < label)) rank++
    if (value > highest) highest = value
    if (value < lowest) lowest = value
    sum += value
  }
  let exponentials = 0
  for (let c = 0; c < classes; c++) exponentials += Math.exp(values[start + c]! - highest)
  return {
    rank,
    logitLoss: Math.log(exponentials) + highest - own,
    probabilityLoss: -Math.log(Math.max(own, LEAST_PROBABILITY)),
    isProbabilities: lowest >= 0 && Math.abs(sum - 1) <= 0.01,
  }
}

/** Starts collecting. @param outputName for messages. */
export function createMetrics(outputName = 'output'): MetricsCollector {
  let samples = 0
  let first = 0
  let firstFive = 0
  let logitLoss = 0
  let probabilityLoss = 0
  let areProbabilities = true
  let classCount = 0
  return {
    add(scores, labels) {
      const { classes } = extentsOf(scores.shape, labels.length, outputName)
      classCount = classes
      const values = toFloat32(scores)
      labels.forEach((label, i) => {
        if (!(label >= 0 && label < classes))
          fail(
            'INVALID_DATA',
            `Sample ${samples}: labels must be 0 … ${classes - 1} because output '${outputName}' has ${classes} ` +
              `classes; got ${label}. The data do not belong to this model.`,
          )
        const row = measureRow(values, i * classes, classes, label, `Output '${outputName}', sample ${samples}`)
        if (row.rank < 1) first++
        if (row.rank < 5) firstFive++
        logitLoss += row.logitLoss
        probabilityLoss += row.probabilityLoss
        areProbabilities &&= row.isProbabilities
        samples++
      })
    },
    result() {
      if (samples === 0) fail('INVALID_DATA', 'There are no samples to measure accuracy on.')
      return {
        top1: first / samples,
        top5: classCount > 5 ? firstFive / samples : null,
        loss: (areProbabilities ? probabilityLoss : logitLoss) / samples,
        samples,
      }
    },
  }
}
