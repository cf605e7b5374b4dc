/** How far two networks are apart on the same data: per output and, where names match, per inner value. */
import { checkAborted, fail, type TaskOptions } from '../core/index.ts'
import type { Evaluator, Model, TensorMap } from '../graph/index.ts'
import { type Tensor, toFloat32, toFloat64 } from '../tensor/index.ts'
import { requiredInputs } from './feeds.ts'
import { DEFAULT_RUN_BYTES, groupBySize, InnerValues } from './inner-values.ts'
import { observeShapes } from './observe.ts'

/** The difference of one value between networks A and B over all data; A is the reference. */
export interface ValueDifference {
  /** The value's name in A. */
  readonly name: string
  /** Elements compared. */
  readonly elements: number
  /** Signal to noise, 10 log₁₀(‖A‖² / ‖A − B‖²) in dB; infinite when equal. */
  readonly sqnr: number
  /** ⟨A, B⟩ / (‖A‖ ‖B‖); 1 when both are zero. */
  readonly cosine: number
  /** ‖A − B‖ / ‖A‖; 0 when equal. */
  readonly relativeError: number
  readonly maxAbsolute: number
  /** Elements left out because they are NaN or infinite in one network and not the same in the other. */
  readonly nonFinite: number
}

/** The differences of two networks. */
export interface ModelComparison {
  readonly batches: number
  readonly outputs: readonly ValueDifference[]
  /** Inner values that both networks have under one name, in A's order. */
  readonly layers: readonly ValueDifference[]
}

/** Options of {@link compareModels}. */
export interface CompareOptions extends TaskOptions {
  /** Whether inner values are compared; default true. The runtime's optimiser is off then. */
  readonly layers?: boolean | undefined
  /** Inner values fetched at a time, in bytes; default 256 MiB. More means fewer repeated runs. */
  readonly runBytes?: number | undefined
}

/** Sums from which all measures of one value follow. */
export class DifferenceSums {
  #elements = 0
  #nonFinite = 0
  #reference = 0
  #other = 0
  #product = 0
  #difference = 0
  #largest = 0

  /** Adds a pair of tensors of the same size. */
  add(reference: Tensor, other: Tensor): void {
    const a = numbersOf(reference)
    const b = numbersOf(other)
    let [aa, bb, ab, dd, largest, bad] = [0, 0, 0, 0, this.#largest, 0]
    for (let i = 0; i < a.length; i++) {
      const x = a[i]!
      const y = b[i]!
      const d = x - y
      const size = Math.abs(d)
      if (size <= Number.MAX_VALUE) {
        aa += x * x
        bb += y * y
        ab += x * y
        dd += d * d
        if (size > largest) largest = size
      } else if (!Object.is(x, y)) bad++
    }
    this.#elements += a.length
    this.#reference += aa
    this.#other += bb
    this.#product += ab
    this.#difference += dd
    this.#largest = largest
    this.#nonFinite += bad
  }

  /** The sums that cosines follow from: Σ a², Σ b² and Σ a·b. */
  products(): { readonly reference: number; readonly other: number; readonly product: number } {
    return { reference: this.#reference, other: this.#other, product: this.#product }
  }

  /** The measures so far. */
  result(name: string): ValueDifference {
    const [aa, bb, dd] = [this.#reference, this.#other, this.#difference]
    return {
      name,
      elements: this.#elements,
      sqnr: dd === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(aa / dd),
      cosine: dd === 0 ? 1 : this.#product / Math.sqrt(aa * bb) || 0,
      relativeError: dd === 0 ? 0 : Math.sqrt(dd / aa),
      maxAbsolute: this.#largest,
      nonFinite: this.#nonFinite,
    }
  }
}

function numbersOf(tensor: Tensor): Float32Array | Float64Array {
  return tensor.dtype === 'float32' ? toFloat32(tensor) : toFloat64(tensor)
}

/**
 * Compares two networks on batches of feeds; nothing but sums is kept of a batch.
 *
 * Outputs are paired by name, or by position when the networks share no output name. B is fed by name, or by position
 * when its inputs have other names.
 *
 * @param batches feeds of A.
 * @throws WhittleError `INVALID_DATA` without a batch, `SHAPE_MISMATCH` when paired outputs have different shapes,
 * `INVALID_ARGUMENT` when inputs or outputs cannot be paired, `ENGINE`.
 */
export async function compareModels(
  evaluator: Evaluator,
  a: Model,
  b: Model,
  batches: AsyncIterable<TensorMap>,
  options: CompareOptions = {},
): Promise<ModelComparison> {
  const outputs = pairOutputs(a, b)
  const inputs = pairInputs(a, b)
  const sums = new Map<string, DifferenceSums>()
  let sessions: { a: InnerValues; b: InnerValues; pairs: ReadonlyMap<string, string> } | undefined
  let count = 0
  try {
    for await (const feeds of batches) {
      checkAborted(options.signal)
      sessions ??= await load(evaluator, a, b, feeds, outputs, options)
      const otherFeeds = Object.fromEntries([...inputs].map(([from, to]) => [to, feeds[from]!]))
      for (const group of sessions.a.groups.keys()) {
        const left = await sessions.a.run(group, feeds)
        const right = await sessions.b.run(group, otherFeeds)
        for (const name of sessions.a.groups[group]!)
          addPair(sums, name, left[name]!, right[sessions.pairs.get(name)!]!, outputs.has(name))
      }
      count++
      options.onProgress?.({ stage: 'compare', done: count })
    }
  } finally {
    await sessions?.a.release()
    await sessions?.b.release()
  }
  if (count === 0) fail('INVALID_DATA', 'Comparison: needs at least one batch of data; got none.')
  const results = [...sums].map(([name, sum]) => sum.result(name))
  return {
    batches: count,
    outputs: results.filter(({ name }) => outputs.has(name)),
    layers: results.filter(({ name }) => !outputs.has(name)),
  }
}

function addPair(
  sums: Map<string, DifferenceSums>,
  name: string,
  left: Tensor,
  right: Tensor,
  isOutput: boolean,
): void {
  if (left.shape.join() !== right.shape.join()) {
    if (!isOutput) return
    fail(
      'SHAPE_MISMATCH',
      `Output '${name}': must have the same shape in both models; it has [${left.shape.join(', ')}] and [${right.shape.join(', ')}].`,
    )
  }
  if (left.dtype === 'string' || right.dtype === 'string') return
  let sum = sums.get(name)
  if (!sum) sums.set(name, (sum = new DifferenceSums()))
  sum.add(left, right)
}

async function load(
  evaluator: Evaluator,
  a: Model,
  b: Model,
  feeds: TensorMap,
  outputs: ReadonlyMap<string, string>,
  options: CompareOptions,
): Promise<{ a: InnerValues; b: InnerValues; pairs: ReadonlyMap<string, string> }> {
  const observed = await observeShapes(evaluator, a, { feeds, signal: options.signal })
  const pairs = new Map(outputs)
  const { layers = true } = options
  if (layers) {
    const others = new Set(b.graph.nodes.flatMap((node) => node.outputs))
    const restored = restoredValues(b)
    for (const name of a.graph.nodes.flatMap((node) => node.outputs))
      if (name !== '' && others.has(name) && !pairs.has(name) && observed.has(name))
        pairs.set(name, restored.get(name) ?? name)
  }
  const order = a.graph.nodes.flatMap((node) => node.outputs).filter((name) => pairs.has(name))
  // Outputs that are inputs or constants come from no node.
  for (const name of outputs.keys()) if (!order.includes(name)) order.push(name)
  const groups = groupBySize(order, observed, options.runBytes ?? DEFAULT_RUN_BYTES)
  const left = await InnerValues.load(evaluator, a, groups, !layers)
  try {
    const otherGroups = groups.map((names) => names.map((name) => pairs.get(name)!))
    return { a: left, b: await InnerValues.load(evaluator, b, otherGroups, !layers), pairs }
  } catch (error) {
    await left.release()
    throw error
  }
}

/**
 * What a quantized value is read as, by its name before: the end of its QuantizeLinear and DequantizeLinear. Where the
 * integers' limits stand for a Relu, the value before them is not clipped yet.
 */
function restoredValues(model: Model): Map<string, string> {
  const { nodes } = model.graph
  const quantized = new Map<string, string>()
  for (const { opType, inputs, outputs } of nodes)
    if (opType === 'QuantizeLinear') quantized.set(outputs[0]!, inputs[0]!)
  const restored = new Map<string, string>()
  for (const { opType, inputs, outputs } of nodes) {
    const source = opType === 'DequantizeLinear' ? quantized.get(inputs[0]!) : undefined
    if (source !== undefined) restored.set(source, outputs[0]!)
  }
  return restored
}

const quoted = (names: readonly string[]): string => names.map((name) => `'${name}'`).join(', ')

function pairNames(what: string, a: readonly string[], b: readonly string[]): Map<string, string> {
  const common = a.filter((name) => b.includes(name))
  if (common.length === a.length) return new Map(common.map((name) => [name, name]))
  if (common.length === 0 && a.length === b.length) return new Map(a.map((name, position) => [name, b[position]!]))
  return fail(
    'INVALID_ARGUMENT',
    `Comparison: the models' ${what} must have the same names or the same number; they have ${quoted(a)} and ${quoted(b)}.`,
  )
}

function pairOutputs(a: Model, b: Model): Map<string, string> {
  const names = (model: Model): string[] => model.graph.outputs.map((output) => output.name)
  const common = names(a).filter((name) => names(b).includes(name))
  return common.length > 0 ? new Map(common.map((name) => [name, name])) : pairNames('outputs', names(a), names(b))
}

/**
 * Inputs of B by those of A: by name, or by position when they share no name.
 *
 * @throws WhittleError `INVALID_ARGUMENT` when neither is possible.
 */
export function pairInputs(a: Model, b: Model): Map<string, string> {
  const names = (model: Model): string[] => requiredInputs(model).map((input) => input.name)
  const pairs = pairNames('inputs', names(a), names(b))
  if (pairs.size !== names(b).length) pairNames('inputs', names(b), names(a))
  return pairs
}
