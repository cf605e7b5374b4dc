/**
 * Plans for weights alone: which layers get which integers, and what stays in float32. No data and no runtime needed;
 * element types and ranges of inner values only matter where the rest of the network becomes float16.
 */
import { fail, matchesAny } from '../../../core/index.ts'
import { floatAttribute, GraphIndex, intAttribute, type Model, modelHash, type Node } from '../../../graph/index.ts'
import type { Plan, Skip } from '../../method.ts'
import { findSites, type Site } from '../../sites.ts'
import type { Bnb4Type } from './bnb4-blocks.ts'
import { WEIGHT_FORMATS, type WeightFormat } from './dtypes.ts'
import { type Float16Island, type Float16IslandOptions, findFloat16Islands, type ValueTypes } from './float16.ts'
import { checkBlock } from './four-bit-blocks.ts'

type StepCommon = { readonly node: string; readonly op: string; readonly weight: string }

/** A weight in blocks of 4-bit integers. */
export type FourBitStep = StepCommon & {
  /** `MatMulNBits`, `DequantizeLinear` in blocks before the layer, or `GatherBlockQuantized`. */
  readonly form: 'matmul-nbits' | 'qdq-blocks' | 'gather-blocks'
  readonly block: number
  readonly symmetric: boolean
  /** 0: as the runtime likes; 1: float32; 2: float16; 4: int8 activations inside the product. */
  readonly accuracyLevel: number
}

/** A weight in blocks of 4-bit codes, `MatMulBnb4`. */
export type Bnb4Step = StepCommon & { readonly form: 'bnb4'; readonly block: number; readonly codes: Bnb4Type }

/** A weight of 8-bit integers. */
export type IntegerStep = StepCommon & {
  /** `DynamicQuantizeLinear` and `MatMulInteger`, or `Gather` from integers. */
  readonly form: 'dynamic' | 'gather-integers'
  readonly type: 'int8' | 'uint8'
  /** One scale per output; else one for the weight. */
  readonly perChannel: boolean
  readonly bits: number
}

/** How one layer keeps its weight. */
export type WeightOnlyStep = FourBitStep | Bnb4Step | IntegerStep

/** What happens to a network's weights. */
export type WeightOnlyPlan = Plan<WeightOnlyStep> & {
  readonly format: WeightFormat
  /** Whether what no step names becomes float16, with these nodes left out. */
  readonly float16: { readonly islands: readonly Float16Island[]; readonly keepIo: boolean } | null
}

/** Options of {@link planWeightOnly}. */
export interface WeightOnlyOptions {
  /** Form that weights get. */
  readonly format: WeightFormat
  /** Numbers that share a scale, of 4-bit formats; default 32, of `bnb4` 64. */
  readonly block?: number | undefined
  /** Whether 4-bit blocks have no zero points; default true. */
  readonly symmetric?: boolean | undefined
  /**
   * What 4-bit layers are written as: ONNX Runtime's `MatMulNBits` (default), or standard ONNX, `DequantizeLinear` with
   * blocks before the layer (opset 21).
   */
  readonly fourBit?: 'matmul-nbits' | 'qdq' | undefined
  /** What `MatMulNBits` may compute in: 0 (default) as the runtime likes, 1 float32, 2 float16, 4 int8. */
  readonly accuracyLevel?: 0 | 1 | 2 | 4 | undefined
  /** Codes of `bnb4`; default `'nf4'`. */
  readonly codes?: Bnb4Type | undefined
  /** Scales of 8-bit weights: one per output (default) or one per weight. */
  readonly perChannel?: boolean | undefined
  /** Bits of 8-bit weights: 7 where products of a processor saturate; default 8. */
  readonly bits?: 7 | 8 | undefined
  /** Whether tables that Gather reads are quantized too; default: for 8-bit formats. */
  readonly embeddings?: boolean | undefined
  /** Whether inputs and outputs stay float32 in float16 formats; default true. */
  readonly keepIo?: boolean | undefined
  /** Only layers whose names match these patterns. */
  readonly only?: readonly string[] | undefined
  /** Not the layers whose names match; with float16 formats they stay in float32. */
  readonly skip?: readonly string[] | undefined
}

/** What {@link planWeightOnly} knows of the network besides its graph. */
export interface WeightOnlyContext {
  /** Element types of all values; needed for `fp16` and `q4f16`. */
  readonly types?: ValueTypes | undefined
  /** Ranges of inner values on data, so that float16's overflow is seen. */
  readonly ranges?: Float16IslandOptions['ranges']
}

const FOUR_BIT: ReadonlySet<WeightFormat> = new Set(['q4', 'q4f16', 'bnb4'])
/** Smaller tables are settings rather than embeddings. */
const LEAST_TABLE = 1024

/**
 * Plans a format for a network's weights.
 *
 * @throws WhittleError `INVALID_ARGUMENT` for options that do not go together.
 */
export function planWeightOnly(
  model: Model,
  options: WeightOnlyOptions,
  context: WeightOnlyContext = {},
): WeightOnlyPlan {
  const { format, only = [], skip = [] } = options
  checkOptions(options)
  const steps: WeightOnlyStep[] = []
  const skips: Skip[] = []
  if (format !== 'fp32' && format !== 'fp16') {
    const list = findSites(model)
    const selected = (name: string): boolean => (only.length === 0 || matchesAny(name, only)) && !matchesAny(name, skip)
    skips.push(...list.skips)
    for (const site of list.sites) {
      const refusal = selected(site.name) ? refusalOf(site) : 'It was not selected.'
      if (refusal === undefined) steps.push(linearStep(site, options))
      else skips.push({ name: site.name, reason: refusal })
    }
    if (options.embeddings ?? !FOUR_BIT.has(format))
      for (const node of tablesOf(model, selected)) steps.push(tableStep(node, options))
  }
  const float16 = format === 'fp16' || format === 'q4f16' ? planFloat16(model, options, context) : null
  const warnings =
    float16 && !context.ranges
      ? ['No data were given, so that overflow of float16 was looked for in constants, not in activations.']
      : []
  return {
    method: 'weight-only',
    version: 1,
    model: modelHash(model),
    seed: 0,
    format,
    steps,
    float16,
    skips,
    warnings,
  }
}

function planFloat16(model: Model, options: WeightOnlyOptions, { types, ranges }: WeightOnlyContext) {
  if (!types)
    fail('INVALID_ARGUMENT', `Format ${options.format}: needs the element types of all values; give context.types.`)
  const { skip = [] } = options
  const islands = findFloat16Islands(model, types, { ranges, keep: (name) => matchesAny(name, skip) })
  return { islands, keepIo: options.keepIo ?? true }
}

function checkOptions({
  format,
  block,
  symmetric,
  fourBit,
  accuracyLevel,
  codes,
  perChannel,
  bits,
}: WeightOnlyOptions): void {
  if (!WEIGHT_FORMATS.includes(format))
    fail('INVALID_ARGUMENT', `Weight format '${format}': must be one of ${WEIGHT_FORMATS.join(', ')}.`)
  const only = (name: string, value: unknown, formats: readonly WeightFormat[]): void => {
    if (value !== undefined && !formats.includes(format))
      fail('INVALID_ARGUMENT', `Option ${name}: belongs to ${formats.join(', ')}; the format is ${format}.`)
  }
  only('block', block, ['q4', 'q4f16', 'bnb4'])
  only('symmetric', symmetric, ['q4', 'q4f16'])
  only('fourBit', fourBit, ['q4', 'q4f16'])
  only('accuracyLevel', accuracyLevel, ['q4', 'q4f16'])
  only('codes', codes, ['bnb4'])
  only('perChannel', perChannel, ['q8', 'int8', 'uint8'])
  only('bits', bits, ['q8', 'int8', 'uint8'])
  if (block !== undefined) checkBlock(block)
  if (fourBit === 'qdq' && accuracyLevel !== undefined)
    fail('INVALID_ARGUMENT', 'Option accuracyLevel: belongs to MatMulNBits; leave it out with qdq.')
}

/** Why a weight-carrying layer keeps its weight. */
function refusalOf(site: Site): string | undefined {
  if (site.kind !== 'linear')
    return `Operator ${site.op} keeps its weight: ONNX Runtime has no fast convolution on such weights. Calibrate it (int8) or decompose it.`
  if (site.weight.dtype !== 'float32') return `Its weight is of type ${site.weight.dtype}, not float32.`
  if (site.op !== 'Gemm') return undefined
  if (intAttribute(site.node, 'transA', 0) !== 0) return 'Its first operand is transposed (transA).'
  if (
    floatAttribute(site.node, 'alpha', 1) !== 1 ||
    (site.biasName !== undefined && floatAttribute(site.node, 'beta', 1) !== 1)
  )
    return 'It scales its product or bias (alpha, beta).'
  return undefined
}

function linearStep(site: Site, options: WeightOnlyOptions): WeightOnlyStep {
  const { format, symmetric = true, accuracyLevel = 0, perChannel = true, bits = 8 } = options
  const common = { node: site.name, op: site.op, weight: site.weightName }
  switch (format) {
    case 'bnb4':
      return { ...common, form: 'bnb4', block: options.block ?? 64, codes: options.codes ?? 'nf4' }
    case 'q4':
    case 'q4f16': {
      const form = options.fourBit === 'qdq' ? 'qdq-blocks' : 'matmul-nbits'
      return { ...common, form, block: options.block ?? 32, symmetric, accuracyLevel }
    }
    default:
      return { ...common, form: 'dynamic', type: format === 'uint8' ? 'uint8' : 'int8', perChannel, bits }
  }
}

function tableStep(node: Node, options: WeightOnlyOptions): WeightOnlyStep {
  const { format, symmetric = true } = options
  const common = { node: node.name, op: node.opType, weight: node.inputs[0]! }
  if (FOUR_BIT.has(format))
    return { ...common, form: 'gather-blocks', block: options.block ?? 32, symmetric, accuracyLevel: 0 }
  // Nothing multiplies a table, so that it may use the whole range, as onnxruntime.quantization's do.
  return { ...common, form: 'gather-integers', type: 'uint8', perChannel: false, bits: 8 }
}

/** Gather nodes that read rows of a constant matrix which nothing else uses. */
function tablesOf(model: Model, selected: (name: string) => boolean): Node[] {
  const index = new GraphIndex(model.graph)
  return model.graph.nodes.filter((node) => {
    if (node.domain !== '' || node.opType !== 'Gather' || intAttribute(node, 'axis', 0) !== 0) return false
    const table = index.constant(node.inputs[0] ?? '')
    if (table?.dtype !== 'float32' || table.shape.length !== 2 || table.size < LEAST_TABLE) return false
    return selected(node.name) && index.users(node.inputs[0]!).every((user) => user.opType === 'Gather')
  })
}
