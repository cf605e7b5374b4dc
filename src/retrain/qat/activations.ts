/**
 * Learned quantizers of activations.
 *
 * ULQ (AMCT, "Universal Linear Quantization") learns the ends of the range, LSQ the step between two integers, LSQ+ the
 * step and an offset. All give values (q − zero point) · scale with an integer zero point, so that the deployed model
 * computes the same numbers.
 *
 * @see S. K. Esser et al., Learned Step Size Quantization, ICLR 2020
 * @see Y. Bhalgat et al., LSQ+: Improving low-bit quantization through learnable offsets and better initialization, 2020
 */
import { type ActivationStep, integerLimits, rangeOf, roundHalfToEven } from '../../compress/index.ts'
import { fail } from '../../core/index.ts'
import { fromNumbers, type Tensor, toFloat32 } from '../../tensor/index.ts'
import type { ParameterGroup } from '../../train/index.ts'
import { EPSILON } from './initial-scales.ts'
import type { QatAlgorithm } from './options.ts'
import { addAnchorRule, addRangeRules, addStepRules } from './rules.ts'
import type { FakeQuantWriter } from './writer.ts'

/** What a quantizer of one activation (and of those that share its scale) learns. */
export type ActivationQuantizer = {
  readonly tensor: string
  readonly algorithm: QatAlgorithm
  /** Names of the learned numbers; what is absent is fixed. */
  readonly parameters: {
    readonly clipMax?: string
    readonly clipMin?: string
    readonly scale?: string
    readonly offset?: string
  }
  /** What it starts from, and the type and bits. */
  readonly step: ActivationStep
  /** The value of its scale in the graph. */
  readonly scaleValue: string
}

/** How an activation's quantizer is chosen. */
export interface ActivationChoice {
  readonly algorithm: QatAlgorithm
  /** Whether values below 0 do not occur. */
  readonly isPositive: boolean
  readonly fixedMin: boolean | undefined
}

/** Where the parameters of a quantizer go, beside its initializers. */
export type Groups = ParameterGroup[]

type Grid = {
  readonly least: number
  readonly most: number
  readonly zero: number
  readonly scale: number
  /** Whether the range lies evenly around 0. */
  readonly isSymmetric: boolean
}

function gridOf({ tensor, quantization }: ActivationStep): Grid {
  const { type, bits, scale, zeroPoint, axis } = quantization
  if (axis !== null || scale.length !== 1)
    fail('UNSUPPORTED', `Activation '${tensor}': must have one scale to be trained; it has ${scale.length}.`)
  const zero = zeroPoint[0]!
  const { least, most } = integerLimits(type, bits)
  return { least, most, zero, scale: scale[0]!, isSymmetric: least < 0 && zero === 0 }
}

/**
 * Adds the initializers of one quantizer.
 *
 * @param elements of the activation, for LSQ's factor 1 / √(N · Qp) on the gradient of the step.
 */
export function createActivationQuantizer(
  writer: FakeQuantWriter,
  step: ActivationStep,
  { algorithm, isPositive, fixedMin }: ActivationChoice,
  { groups, elements, rate }: { groups: Groups; elements: number; rate: number },
): ActivationQuantizer {
  const { tensor } = step
  const { least, most, zero, scale, isSymmetric } = gridOf(step)
  const learn = (role: string, value: number, settings: Omit<ParameterGroup, 'match'>): string => {
    const name = writer.constant(`${tensor}/${role}`, fromNumbers(Float64Array.of(value), [], 'float32'))
    groups.push({ match: [name], weightDecay: 0, lrScale: rate, ...settings })
    return name
  }
  const learnScale = (): string =>
    learn('scale', scale, { gradientScale: 1 / Math.sqrt(elements * (most - zero)), least: EPSILON })
  if (algorithm !== 'ulq') {
    const scaleValue = learnScale()
    const common = { tensor, algorithm, step, scaleValue }
    if (algorithm === 'lsq' || isSymmetric) return { ...common, parameters: { scale: scaleValue } }
    const offset = learn('offset', (least - zero) * scale, { most: 0 })
    return { ...common, parameters: { scale: scaleValue, offset } }
  }
  const prefix = `fake_quant/${tensor}/range`
  const perStep = (width: string, count: number): string => writer.op('Div', [width, writer.number(count)], prefix)
  const clipMax = learn('clip_max', (most - zero) * scale, { least: EPSILON })
  const isFixed = isSymmetric || (fixedMin ?? (isPositive || zero === least))
  if (isFixed)
    return {
      tensor,
      algorithm,
      parameters: { clipMax },
      step,
      scaleValue: perStep(clipMax, isSymmetric ? most : most - least),
    }
  const clipMin = learn('clip_min', Math.min(0, (least - zero) * scale), { most: 0 })
  const scaleValue = perStep(writer.op('Sub', [clipMax, clipMin], prefix), most - least)
  return { tensor, algorithm, parameters: { clipMax, clipMin }, step, scaleValue }
}

/** Adds the nodes of a quantizer. @returns the value that takes the place of `x`. */
export function emitActivationQuantizer(
  writer: FakeQuantWriter,
  quantizer: ActivationQuantizer,
  { x, output, isPositive, prefix }: { x: string; output?: string | undefined; isPositive: boolean; prefix: string },
): string {
  const { parameters, step, scaleValue: size } = quantizer
  const { least, most, zero, isSymmetric } = gridOf(step)
  const levels = most - least
  const bounds = (low: number, high: number): [string, string] => [writer.number(low), writer.number(high)]
  const { clipMax, clipMin, offset } = parameters
  if (clipMin === undefined && offset === undefined) {
    const isRange = clipMax !== undefined && !isSymmetric
    const [low, high] = isRange ? [0, levels] : [least - zero, most - zero]
    const { y, nodes } = writer.fakeQuantize(x, size, bounds(low, high), prefix, output)
    addStepRules(writer.rules, nodes, isPositive && low <= 0)
    return y
  }
  const low = clipMin ?? offset!
  const width = writer.number(levels)
  const anchor = clipMax ?? writer.op('Add', [low, writer.op('Mul', [size, width], prefix)], prefix)
  return emitMoving(writer, { x, output, prefix, size, low, anchor, width })
}

/** Bounds that move with the lower end: the zero point is −low / scale, rounded. */
function emitMoving(
  writer: FakeQuantWriter,
  {
    x,
    output,
    prefix,
    size,
    low,
    anchor,
    width,
  }: {
    x: string
    output: string | undefined
    prefix: string
    size: string
    low: string
    anchor: string
    width: string
  },
): string {
  const rounded = writer.op('Round', [writer.op('Div', [low, size], prefix)], prefix)
  const below = writer.op('Clip', [rounded, writer.op('Neg', [width], prefix), writer.number(0)], prefix)
  const above = writer.op('Add', [below, width], prefix)
  const anchored = (value: string, to: string): string => {
    const { value: result, name } = writer.node('Where', [writer.always, value, to], prefix)
    addAnchorRule(writer.rules, name)
    return result
  }
  const { y, nodes } = writer.fakeQuantize(x, size, [anchored(below, low), anchored(above, anchor)], prefix, output)
  addRangeRules(writer.rules, nodes)
  return y
}

function numberOf(weights: ReadonlyMap<string, Tensor>, name: string): number {
  const tensor = weights.get(name)
  return tensor ? toFloat32(tensor)[0]! : fail('INTERNAL', `Internal: learned number '${name}' is missing.`)
}

/** What a quantizer has learned, with the float32 arithmetic of its nodes. @param weights initializers by name. */
export function learnedStep(quantizer: ActivationQuantizer, weights: ReadonlyMap<string, Tensor>): ActivationStep {
  const { parameters, step, algorithm } = quantizer
  const { least, most, zero, isSymmetric } = gridOf(step)
  const { clipMax, clipMin, scale: scaleName, offset } = parameters
  const levels = most - least
  let scale: number
  let zeroPoint = zero
  const low = clipMin ?? offset
  if (scaleName !== undefined) scale = numberOf(weights, scaleName)
  else if (clipMin !== undefined)
    scale = Math.fround(Math.fround(numberOf(weights, clipMax!) - numberOf(weights, clipMin)) / levels)
  else {
    scale = Math.fround(numberOf(weights, clipMax!) / (isSymmetric ? most : levels))
    if (!isSymmetric) zeroPoint = least
  }
  if (low !== undefined) {
    const rounded = roundHalfToEven(Math.fround(numberOf(weights, low) / scale))
    zeroPoint = least - Math.min(0, Math.max(-levels, rounded))
  }
  const quantization = { ...step.quantization, scale: [scale], zeroPoint: [zeroPoint] }
  return { ...step, quantization, range: rangeOf(quantization), algorithm }
}
