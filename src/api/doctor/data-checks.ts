/** What can be said of samples, and of what a network makes of them, before it is quantized. */
import type { ValueSurvey } from '../../engine/index.ts'
import type { Model, Node, TensorMap } from '../../graph/index.ts'
import { floatAttribute } from '../../graph/index.ts'
import { byteLengthOf, sizeOf, toFloat64 } from '../../tensor/index.ts'
import { type Finding, quoteSome, shortNumber } from './finding.ts'

/** Fewer samples leave ranges to chance; AMCT asks for 16 to 32, ONNX Runtime's examples for a hundred. */
export const LEAST_SAMPLES = 32
/** Above the 99.99th percentile by this factor, an activation wastes three of eight bits on a few elements. */
const OUTLIER_RATIO = 8
/** Trained networks have a few channels that never speak; from this share on something is wrong. */
const DEAD_SHARE = 1 / 3
/** Standard deviations between what a batch normalisation gets and what it remembers. */
const SHIFTED = 1
/** Ratio of variances between the two. */
const STRETCHED = 8

/** Counts samples and how many of them are different. */
export class SampleTally {
  samples = 0
  readonly #seen = new Set<string>()

  /** Adds the samples of one run: rows of the first axis. */
  add(feeds: TensorMap): void {
    const tensors = Object.values(feeds)
    const rows = tensors[0]?.shape[0] ?? 1
    this.samples += rows
    // Two different ones are enough to know.
    for (let row = 0; row < rows && this.#seen.size < 2; row++) {
      const keys = tensors.map((tensor) => {
        const length = byteLengthOf(tensor.dtype, sizeOf(tensor.shape.slice(1)))
        return tensor.shape[0] === rows && tensor.dtype !== 'string'
          ? hashBytes(tensor.bytes.subarray(row * length, (row + 1) * length))
          : 0
      })
      this.#seen.add(keys.join())
    }
  }

  /** Whether all samples are the same; false while there is but one. */
  get areIdentical(): boolean {
    return this.samples > 1 && this.#seen.size === 1
  }
}

/** FNV-1a. */
function hashBytes(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
  return hash
}

/** What the checks of samples need. */
export interface SampleCheckContext {
  readonly tally: SampleTally
  readonly inputs: readonly ValueSurvey[]
  /** Ranges that inputs should lie in, by name. */
  readonly declared: ReadonlyMap<string, { readonly min: number; readonly max: number }>
  /** Whether somebody chose a preprocessing, or the model says one. */
  readonly isPreprocessed: boolean
}

/** Checks the samples themselves. */
export function checkSamples({ tally, inputs, declared, isPreprocessed }: SampleCheckContext): Finding[] {
  const findings: Finding[] = []
  if (tally.areIdentical)
    findings.push({
      code: 'identical-samples',
      severity: 'error',
      where: inputs.map(({ name }) => name),
      found: `All ${tally.samples} samples are the same.`,
      advice: 'Give samples as the network will meet them; look at what reads them.',
    })
  else if (tally.samples < LEAST_SAMPLES)
    findings.push({
      code: 'too-few-samples',
      severity: 'warning',
      where: inputs.map(({ name }) => name),
      found: `There ${tally.samples === 1 ? 'is 1 sample' : `are ${tally.samples} samples`}; ranges need ${LEAST_SAMPLES} at least.`,
      advice: 'Give more, of all classes and kinds; 128 to 512 are usual.',
    })
  for (const input of inputs) {
    findings.push(...notFinite(input, 'Input'))
    const constant = constantInput(input)
    if (constant) findings.push(constant)
    const range = declared.get(input.name)
    if (range) findings.push(...outOfRange(input, range))
    else if (!isPreprocessed && isPixels(input))
      findings.push({
        code: 'raw-pixels',
        severity: 'warning',
        where: [input.name],
        found: `Input '${input.name}' is fed whole numbers of ${shortNumber(input.min)} to ${shortNumber(input.max)}, and nothing says that the network was trained on pixels as they are.`,
        advice: "Give the preprocessing it was trained with (--preprocess), or say 'none' to be sure.",
      })
  }
  return findings
}

function notFinite({ name, nonFinite, elements }: ValueSurvey, what: string): Finding[] {
  if (nonFinite === 0) return []
  return [
    {
      code: 'not-finite',
      severity: 'error',
      where: [name],
      found: `${what} '${name}' has ${nonFinite} NaN or infinite among ${elements} elements.`,
      advice: 'No range can be found for it; look at the samples and the preprocessing.',
    },
  ]
}

function constantInput({ name, min, max, channels, elements }: ValueSurvey): Finding | undefined {
  if (elements === 0) return undefined
  const flat = channels.flatMap(({ variance, mean }, channel) =>
    variance <= 1e-12 * (1 + mean * mean) ? [channel] : [],
  )
  const isAll = min === max
  if (!isAll && flat.length === 0) return undefined
  // Features of a table are constant now and then; a channel of a picture is not.
  if (!isAll && (channels.length > 4 || flat.length === channels.length)) return undefined
  return {
    code: 'constant-input',
    severity: isAll ? 'error' : 'warning',
    where: [name],
    found: isAll
      ? `Input '${name}' is ${shortNumber(min)} throughout.`
      : `Channel ${flat.join(', ')} of input '${name}' has one value throughout.`,
    advice: 'The data hold no numbers for it, or what reads them loses them.',
  }
}

function outOfRange({ name, min, max }: ValueSurvey, range: { min: number; max: number }): Finding[] {
  const slack = 0.02 * (range.max - range.min)
  if (min >= range.min - slack && max <= range.max + slack) return []
  return [
    {
      code: 'input-out-of-range',
      severity: 'error',
      where: [name],
      found: `Input '${name}' is fed ${shortNumber(min)} to ${shortNumber(max)}; the model declares ${shortNumber(range.min)} to ${shortNumber(range.max)}.`,
      advice: "Feed what the network was trained on: leave --preprocess out to take the model's own, or correct it.",
    },
  ]
}

function isPixels({ isWhole, min, max, channels }: ValueSurvey): boolean {
  return isWhole && min >= 0 && max > 64 && max <= 255 && channels.length <= 4
}

/** Checks what the network makes of the samples. @param model with its batch normalisations as they are. */
export function checkActivations(
  model: Model,
  surveys: ReadonlyMap<string, ValueSurvey>,
  layerInputs: ReadonlySet<string>,
): Finding[] {
  const inner = [...surveys.values()].filter(({ name }) => layerInputs.has(name))
  return [
    ...inner.flatMap((survey) => notFinite(survey, 'Activation')),
    ...batchNormMismatch(model, surveys),
    ...outliers(inner),
    ...deadChannels(inner),
  ]
}

/** How far what a batch normalisation gets is from what it remembers of training. */
function mismatchOf(
  node: Node,
  model: Model,
  survey: ValueSurvey | undefined,
): { shift: number; stretch: number } | undefined {
  const [mean, variance] = [node.inputs[3], node.inputs[4]].map((name) => model.graph.initializers.get(name ?? ''))
  const channels = survey?.channels ?? []
  if (!mean || !variance || channels.length !== mean.size) return undefined
  const [means, variances] = [toFloat64(mean), toFloat64(variance)]
  const epsilon = floatAttribute(node, 'epsilon', 1e-5)
  const shifts = channels.map((channel, c) => Math.abs(channel.mean - means[c]!) / Math.sqrt(variances[c]! + epsilon))
  const stretches = channels.map((channel, c) => Math.log((channel.variance + epsilon) / (variances[c]! + epsilon)))
  return { shift: median(shifts), stretch: Math.exp(Math.abs(median(stretches))) }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? 0
}

function batchNormMismatch(model: Model, surveys: ReadonlyMap<string, ValueSurvey>): Finding[] {
  const nodes = model.graph.nodes.filter(({ opType }) => opType === 'BatchNormalization')
  const wrong = nodes.flatMap((node) => {
    const found = mismatchOf(node, model, surveys.get(node.inputs[0] ?? ''))
    return found && (found.shift > SHIFTED || found.stretch > STRETCHED) ? [{ name: node.name, ...found }] : []
  })
  // The first one in the network tells what is fed; a few later ones may be off for other reasons.
  const [first] = wrong
  if (!first || (first.name !== nodes[0]!.name && wrong.length < nodes.length / 2)) return []
  return [
    {
      code: 'batch-norm-mismatch',
      severity: 'error',
      where: wrong.map(({ name }) => name),
      found: `What reaches '${first.name}' is ${shortNumber(first.shift)} standard deviations from the mean it was trained on, its variance ${shortNumber(first.stretch)} times off (median over channels).`,
      advice:
        'The inputs are not scaled as in training; give the preprocessing the network was trained with (--preprocess).',
    },
  ]
}

function outliers(surveys: readonly ValueSurvey[]): Finding[] {
  const found = surveys
    .map((survey) => {
      const largest = Math.max(Math.abs(survey.min), Math.abs(survey.max))
      return { name: survey.name, largest, usual: survey.percentile(0.9999) }
    })
    .filter(({ largest, usual }) => usual > 0 && largest > OUTLIER_RATIO * usual)
    .sort((a, b) => b.largest / b.usual - a.largest / a.usual)
  const [first] = found
  if (!first) return []
  return [
    {
      code: 'activation-outliers',
      severity: 'warning',
      where: found.map(({ name }) => name),
      found: `In ${found.length} activations a few elements are far larger than all others: '${first.name}' reaches ${shortNumber(first.largest)}, 99.99 % of it ${shortNumber(first.usual)}.`,
      advice:
        'Calibrate by entropy, mse, percentile or ifmr instead of minmax, or balance weights and activations (--balance).',
    },
  ]
}

function deadChannels(surveys: readonly ValueSurvey[]): Finding[] {
  const found = surveys
    .map(({ name, channels }) => ({
      name,
      dead: channels.filter(({ largest }) => largest === 0).length,
      of: channels.length,
    }))
    .filter(({ dead, of }) => dead > DEAD_SHARE * of)
    .sort((a, b) => b.dead / b.of - a.dead / a.of)
  const [first] = found
  if (!first) return []
  return [
    {
      code: 'dead-channels',
      severity: 'note',
      where: found.map(({ name }) => name),
      found: `More than a third of the channels are zero on all samples in ${quoteSome(found.map(({ name }) => name))}; of '${first.name}', ${first.dead} of ${first.of}.`,
      advice: 'If they are so on all data, they can be pruned; if not, the samples miss something.',
    },
  ]
}
