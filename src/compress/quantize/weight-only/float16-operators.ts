/**
 * What operators say about 16-bit floats, as data.
 * Source: ONNX operator specification with its history (onnx v1.23.1): type constraints that allow float32 but not
 * float16, and inputs and outputs that are float32 whatever the others are.
 */

/** First version of the operator set in which an operator takes float16; those never named have always done so. */
const HALF_SINCE: Readonly<Record<string, number>> = {
  Celu: 28,
  CumSum: 14,
  DequantizeLinear: 19,
  DynamicQuantizeLinear: Number.POSITIVE_INFINITY,
  IsInf: 20,
  NonMaxSuppression: Number.POSITIVE_INFINITY,
  QLinearConv: Number.POSITIVE_INFINITY,
  QLinearMatMul: 21,
  QuantizeLinear: 19,
  Range: 27,
  TfIdfVectorizer: Number.POSITIVE_INFINITY,
  Upsample: Number.POSITIVE_INFINITY,
}

/** Operators whose attributes or containers name an element type; they are left as they are. */
const TYPED: ReadonlySet<string> = new Set(
  `Bernoulli ConcatFromSequence EyeLike If Loop Multinomial Optional OptionalGetElement RandomNormal RandomNormalLike
   RandomUniform RandomUniformLike Scan SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert
   SequenceMap SplitToSequence`.split(/\s+/),
)

/** Operators of ONNX Runtime's own domain that take float16 wherever they take float32. */
const CONTRIBUTED: ReadonlySet<string> = new Set(
  `Attention BiasGelu BiasSplitGelu EmbedLayerNormalization FastGelu FusedMatMul GatherBlockQuantized Gelu
   GroupQueryAttention MatMulBnb4 MatMulNBits MultiHeadAttention QuickGelu RotaryEmbedding SimplifiedLayerNormalization
   SkipLayerNormalization SkipSimplifiedLayerNormalization`.split(/\s+/),
)

/** Inputs that stay float32, by position. */
const SINGLE_INPUTS: Readonly<Record<string, readonly number[]>> = { Resize: [1, 2] }
/** Outputs that stay float32, by position. */
const SINGLE_OUTPUTS: Readonly<Record<string, readonly number[]>> = { LayerNormalization: [1, 2] }

/** Positions of a node's inputs that are float32 even where the others are float16. */
export function singleInputs(opType: string): readonly number[] {
  return SINGLE_INPUTS[opType] ?? []
}

/** Positions of a node's outputs that are float32 even where the others are float16. */
export function singleOutputs(opType: string): readonly number[] {
  return SINGLE_OUTPUTS[opType] ?? []
}

/** Why a node cannot work on float16; `undefined` when it can. @param opset of the standard domain. */
export function halfRefusal(
  { opType, domain }: { readonly opType: string; readonly domain: string },
  opset: number,
): string | undefined {
  if (domain === 'com.microsoft' && CONTRIBUTED.has(opType)) return undefined
  if (domain !== '' && domain !== 'ai.onnx') return `Operator ${domain}.${opType} is not known to take float16.`
  if (TYPED.has(opType)) return `Operator ${opType} names element types of its own.`
  const since = Object.hasOwn(HALF_SINCE, opType) ? HALF_SINCE[opType]! : 0
  if (since <= opset) return undefined
  return Number.isFinite(since)
    ? `Operator ${opType} takes float16 from opset ${since} on; this is ${opset}.`
    : `Operator ${opType} takes no float16.`
}
