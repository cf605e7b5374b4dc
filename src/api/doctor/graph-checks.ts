/** What can be said of a network before it is quantized without running it. */
import {
  findSites,
  type IntegerType,
  integerLimits,
  QUANTIZED_OPERATORS,
  quantizeFactsOf,
  type Site,
} from '../../compress/index.ts'
import { forEachModelNode, type Model } from '../../graph/index.ts'
import { isFloat, toFloat32 } from '../../tensor/index.ts'
import { type Finding, quoteSome, shortNumber } from './finding.ts'

/** The choices that the checks of {@link checkGraph} depend on. */
export interface GraphCheckOptions {
  readonly activations: IntegerType | 'none'
  readonly weights: IntegerType
  readonly perChannel: boolean
  /** Whether batch normalisations will be folded. */
  readonly foldBatchNorm: boolean
}

/** Where a quarter of the channels are smaller than the largest by this factor, they have eight steps of 127 at most. */
const UNEVEN = 16

/**
 * Checks a network.
 *
 * @param model prepared, as it is; `folded` with its batch normalisations folded as far as possible.
 */
export function checkGraph(model: Model, folded: Model, options: GraphCheckOptions): Finding[] {
  const quantized = alreadyQuantized(model)
  if (quantized) return [quantized]
  const { sites } = findSites(folded)
  return [
    ...nothingToQuantize(folded),
    ...notFloat32(model, sites),
    ...opsetTooLow(model, options),
    ...dynamicShapes(model),
    ...notFinite(model),
    ...unfoldedBatchNorm(model, folded, options),
    ...(options.perChannel ? [] : unevenChannels(sites, options)),
  ]
}

/** Checks the form of a network that is about to be quantized, as {@link checkGraph} does. @param folded prepared. */
export function checkForm(folded: Model, options: GraphCheckOptions): Finding[] {
  return [
    ...unfoldedBatchNorm(folded, folded, options),
    ...(options.perChannel ? [] : unevenChannels(findSites(folded).sites, options)),
  ]
}

function alreadyQuantized(model: Model): Finding | undefined {
  const counts = new Map<string, number>()
  forEachModelNode(model, ({ opType }) => {
    if (QUANTIZED_OPERATORS.has(opType)) counts.set(opType, (counts.get(opType) ?? 0) + 1)
  })
  if (counts.size === 0) return undefined
  const list = [...counts].map(([op, count]) => `${count} ${op}`).join(', ')
  return {
    code: 'already-quantized',
    severity: 'error',
    where: [...counts.keys()],
    found: `The model is quantized already: ${list}.`,
    advice: 'Quantize the float model it was made from.',
  }
}

function nothingToQuantize(model: Model): Finding[] {
  if (model.graph.nodes.some((node) => quantizeFactsOf(node)?.role === 'layer')) return []
  return [
    {
      code: 'nothing-to-quantize',
      severity: 'error',
      where: [],
      found: 'The main graph has no convolution, Gemm or MatMul, where integers begin.',
      advice: 'Inline functions and loops before, or look whether this is the right file.',
    },
  ]
}

function notFloat32(model: Model, sites: readonly Site[]): Finding[] {
  const wrong = sites.filter(({ weight }) => weight.dtype !== 'float32')
  const inputs = model.graph.inputs.flatMap(({ name, type }) =>
    type?.kind === 'tensor' && type.dtype !== undefined && isFloat(type.dtype) && type.dtype !== 'float32'
      ? [`${name} (${type.dtype})`]
      : [],
  )
  if (wrong.length === 0 && inputs.length === 0) return []
  const types = [...new Set(wrong.map(({ weight }) => weight.dtype))].join(', ')
  return [
    {
      code: 'not-float32',
      severity: 'error',
      where: [...wrong.map(({ name }) => name), ...inputs],
      found:
        wrong.length > 0
          ? `Weights of ${wrong.length} layers are of type ${types}, which are left alone: ${quoteSome(wrong.map(({ name }) => name))}.`
          : `Inputs are not of type float32: ${inputs.join(', ')}.`,
      advice: 'Convert the model to float32 before.',
    },
  ]
}

/** The operator set that QuantizeLinear needs for a type. */
function neededOpset(type: IntegerType, perChannel: boolean): number {
  if (type !== 'int8' && type !== 'uint8') return 21
  return perChannel ? 13 : 10
}

function opsetTooLow(model: Model, { activations, weights, perChannel }: GraphCheckOptions): Finding[] {
  const opset = model.opsets.get('') ?? 1
  const wanted: [string, number][] = [
    [`${weights} weights${perChannel ? ' per channel' : ''}`, neededOpset(weights, perChannel)],
    ...(activations === 'none'
      ? []
      : [[`${activations} activations`, neededOpset(activations, false)] as [string, number]]),
  ]
  const [what, needed] = wanted.sort((a, b) => b[1] - a[1])[0]!
  if (opset >= needed) return []
  return [
    {
      code: 'opset-too-low',
      severity: 'note',
      where: [],
      found: `The model has opset ${opset}; ${what} need opset ${needed}.`,
      advice: `It is lifted to opset ${needed} where every operator allows it; else export it again with opset ${needed}.`,
    },
  ]
}

function dynamicShapes(model: Model): Finding[] {
  const open = model.graph.inputs.flatMap(({ name, type }) => {
    const shape = type?.kind === 'tensor' ? type.shape : undefined
    if (model.graph.initializers.has(name) || !shape) return []
    const isOpen = shape.some((extent, axis) => axis > 0 && !(typeof extent === 'number' && extent > 0))
    return isOpen ? [{ name, text: `${name} [${shape.map((extent) => extent ?? '?').join(', ')}]` }] : []
  })
  if (open.length === 0) return []
  return [
    {
      code: 'dynamic-shape',
      severity: 'note',
      where: open.map(({ name }) => name),
      found: `Axes other than the batch are open: ${open.map(({ text }) => text).join(', ')}.`,
      advice:
        'Calibrate with samples of the sizes in use; some accelerators take quantized models of fixed shapes only.',
    },
  ]
}

function notFinite(model: Model): Finding[] {
  const bad: string[] = []
  let count = 0
  for (const [name, tensor] of model.graph.initializers) {
    if (!isFloat(tensor.dtype)) continue
    const wrong = toFloat32(tensor).reduce((sum, value) => sum + (Number.isFinite(value) ? 0 : 1), 0)
    // A single infinity is a mask's or a Clip's bound.
    if (wrong === 0 || (tensor.size === 1 && wrong === 1)) continue
    bad.push(name)
    count += wrong
  }
  if (bad.length === 0) return []
  return [
    {
      code: 'not-finite',
      severity: 'error',
      where: bad,
      found: `${count} elements of the constants ${quoteSome(bad)} are NaN or infinite.`,
      advice: 'The file is damaged or training diverged; take an earlier checkpoint.',
    },
  ]
}

function unfoldedBatchNorm(model: Model, folded: Model, { foldBatchNorm }: GraphCheckOptions): Finding[] {
  const { nodes } = (foldBatchNorm ? folded : model).graph
  const left = nodes.filter(({ opType }) => opType === 'BatchNormalization').map(({ name }) => name)
  if (left.length === 0) return []
  return [
    {
      code: 'batch-norm-unfolded',
      severity: 'warning',
      where: left,
      found: foldBatchNorm
        ? `${left.length} batch normalisations do not follow a layer of their own and cannot be folded: ${quoteSome(left)}.`
        : `${left.length} batch normalisations are not going to be folded: ${quoteSome(left)}.`,
      advice: foldBatchNorm
        ? 'They stay in floating point, with a conversion on either side; reorder the network or train it without them.'
        : 'Fold them, or every one of them is a float island between integers.',
    },
  ]
}

function unevenChannels(sites: readonly Site[], { weights }: GraphCheckOptions): Finding[] {
  const findings: Finding[] = []
  const depthwise = sites.filter(({ group, inputs }) => group > 1 && group === inputs)
  const worst = (list: readonly Site[]): { name: string; ratio: number }[] =>
    list
      .map((site) => ({ name: site.name, ratio: channelRatio(site) }))
      .filter(({ ratio }) => ratio > UNEVEN)
      .sort((a, b) => b.ratio - a.ratio)
  const { most } = integerLimits(weights, weights === 'int4' || weights === 'uint4' ? 4 : 8, true)
  if (depthwise.length > 0) {
    const [first] = worst(depthwise)
    const names = [...worst(depthwise).map(({ name }) => name)]
    for (const { name } of depthwise) if (!names.includes(name)) names.push(name)
    findings.push({
      code: 'per-tensor-depthwise',
      severity: 'warning',
      where: names,
      found:
        `${depthwise.length} depthwise convolutions get one scale for all channels` +
        (first
          ? `; in '${first.name}' the largest weights of channels differ by ${shortNumber(first.ratio)} times.`
          : '.'),
      advice: 'Use a scale per channel, or equalise channels across layers before (--equalize).',
    })
  }
  const others = worst(sites.filter((site) => !depthwise.includes(site)))
  const [first] = others
  if (first)
    findings.push({
      code: 'uneven-channels',
      severity: 'warning',
      where: others.map(({ name }) => name),
      found: `With one scale for all channels, many channels of ${others.length} layers use few of ${most} steps; in '${first.name}' a quarter of them are smaller than the largest by ${shortNumber(first.ratio)} times.`,
      advice: 'Use a scale per channel, or equalise channels across layers before (--equalize).',
    })
  return findings
}

/** The largest weight of all over what a quarter of the channels stay below; channels of zeros do not count. */
function channelRatio({ weight, weightIsOutputFirst, outputs, kind }: Site): number {
  const data = toFloat32(weight)
  const largest = new Float64Array(outputs)
  const inner = data.length / outputs
  const [first = 1, second = 1] = weight.shape
  const plane = data.length / Math.max(first * second, 1)
  for (let i = 0; i < data.length; i++) {
    let channel = Math.floor(i / inner)
    if (!weightIsOutputFirst) {
      const column = Math.floor(i / plane) % second
      const group = kind === 'linear' ? 0 : Math.floor(Math.floor(i / (plane * second)) / (first / (outputs / second)))
      channel = group * second + column
    }
    const size = Math.abs(data[i]!)
    if (size > largest[channel]!) largest[channel] = size
  }
  const used = largest.filter((value) => value > 0).sort()
  return used.length === 0 ? 1 : used.at(-1)! / used[Math.floor(used.length / 4)]!
}
