/** Batch normalisation with batch or fixed statistics, and its gradient, on blocked values: sums by pooling, scaling by convolving. */
import type { Emitter } from '../../autodiff/index.ts'
import { floatAttribute, intAttribute, type Node } from '../../graph/index.ts'
import { sizeOf } from '../../tensor/index.ts'
import { fused, sumsOfProducts } from './convolutions.ts'
import type { DeferredGradient } from './deferred-rules.ts'
import type { Fusion, Layouts } from './layouts.ts'
import { readersOf } from './readers.ts'

/** `x · factor + offset (+ sum)` per channel, in one pass over the pictures. @param factor, offset `[C]`. */
function affine(layouts: Layouts, x: string, factor: string, offset: string | undefined, fusion: Fusion): string {
  const shape = layouts.emit.shape(x)
  const channels = shape[1]!
  const attributes = { kernel_shape: [1, 1], pads: [0, 0, 0, 0], strides: [1, 1], dilations: [1, 1], group: channels }
  const weight = layouts.emit.reshape(factor, [channels, 1, 1, 1])
  return fused(layouts, [x, weight], offset, shape, { ...attributes, auto_pad: 'NOTSET' }, fusion)
}

/** Mean over all but the channels, `[C]`. */
function meanOf(layouts: Layouts, x: string): string {
  const { emit } = layouts
  const [batch, channels] = emit.shape(x) as [number, number]
  const perPicture = layouts.op('GlobalAveragePool', [x], [batch, channels, 1, 1])
  return emit.reduce('ReduceMean', emit.reshape(perPicture, [batch, channels]), [0], false)
}

/** Mean of `a · b` over all but the channels, `[C]`. */
function meanOfProducts(layouts: Layouts, a: string, b: string): string {
  const { emit } = layouts
  const shape = emit.shape(a)
  return emit.scale(sumsOfProducts(layouts, a, b), shape[1]! / sizeOf(shape))
}

/** 1 / √(v + ε). */
function inverseDeviation(emit: Emitter, variance: string, node: Node): string {
  const epsilon = emit.number(floatAttribute(node, 'epsilon', 1e-5), variance)
  return emit.unary('Reciprocal', emit.unary('Sqrt', emit.add(variance, epsilon)))
}

function isTraining(node: Node): boolean {
  return intAttribute(node, 'training_mode', 0) === 1
}

/** Whether the statistics that the node gives, if any, are the batch's alone. */
function isPure(node: Node): boolean {
  return !isTraining(node) || floatAttribute(node, 'momentum', 0.9) === 0
}

/** Lowers a node whose operand is blocked. @returns whether it did. */
export function lowerBatchNorm(layouts: Layouts, node: Node): boolean {
  const [x, scale, bias] = node.inputs as [string, string, string]
  const y = node.outputs[0]!
  if (!isPure(node) || !layouts.isBlockable(x) || !layouts.isBlocked(x)) return false
  const { emit } = layouts
  const source = layouts.blocked(x)
  const [mean, variance] = isTraining(node)
    ? batchStatistics(layouts, node, source)
    : [layouts.plain(node.inputs[3]!), layouts.plain(node.inputs[4]!)]
  const factor = emit.mul(layouts.plain(scale), inverseDeviation(emit, variance, node))
  const offset = emit.sub(layouts.plain(bias), emit.mul(mean, factor))
  layouts.setPending(y, { addsUp: true, emit: (fusion) => affine(layouts, source, factor, offset, fusion) })
  return true
}

/**
 * Results of convolutions that nothing reads but a batch normalisation in training mode and its gradient, and what may be
 * subtracted from them, as a bias of the convolution that costs nothing: values near their means, the running ones.
 * Without it the mean of squares less the square of the mean loses digits where means are large.
 */
export function shiftsOf(
  nodes: readonly Node[],
  deferredOf: (node: Node) => DeferredGradient | undefined,
  nearMeans: ReadonlyMap<string, string>,
): ReadonlyMap<string, string> {
  const producers = new Map(nodes.flatMap((node) => node.outputs.map((name) => [name, node] as const)))
  const readers = readersOf(nodes)
  const shifts = new Map<string, string>()
  for (const norm of nodes) {
    const near = nearMeans.get(norm.name)
    const x = norm.inputs[0]!
    const producer = producers.get(x)
    if (norm.opType !== 'BatchNormalization' || norm.domain !== '' || !isTraining(norm) || !isPure(norm)) continue
    if (near === undefined || producer?.opType !== 'Conv' || producer.domain !== '' || producer.inputs[2]) continue
    const allowed = new Set([norm])
    // What gives the runtime's kernel a place for running statistics of its own, see `toTrainingBatchNorm`.
    for (let names = norm.inputs.slice(3); names.length > 0; ) {
      const made = names.flatMap((name) => producers.get(name) ?? []).filter((node) => node !== producer)
      for (const node of made) allowed.add(node)
      names = made.flatMap((node) => (node.inputs.includes(x) ? [] : node.inputs))
    }
    const isOwn = (node: Node): boolean => allowed.has(node) || deferredOf(node)?.node.outputs[0] === norm.outputs[0]
    if (readers.get(x)!.every(isOwn)) shifts.set(x, near)
  }
  return shifts
}

/** Mean and biased variance of the batch, under the names of the node's outputs where it has them. */
function batchStatistics(layouts: Layouts, node: Node, source: string): readonly [string, string] {
  const { emit } = layouts
  const [, meanName, varianceName] = node.outputs
  const shift = layouts.shifts.get(node.inputs[0]!)
  let mean = meanOf(layouts, source)
  if (meanName && shift === undefined) {
    layouts.give(meanName, mean)
    mean = meanName
  } else if (meanName && shift !== undefined) {
    layouts.give(meanName, emit.add(mean, layouts.plain(shift)))
    layouts.shiftedMeans.set(node.inputs[0]!, mean)
  }
  const squares = meanOfProducts(layouts, source, source)
  // Rounding may leave less than zero where all elements are equal.
  const spread = emit.sub(squares, emit.mul(mean, mean))
  const variance = emit.op('Max', [spread, emit.number(0, spread)], emit.shape(spread))
  if (!varianceName) return [mean, variance]
  layouts.give(varianceName, variance)
  return [mean, varianceName]
}

/** Lowers its gradients: dβ = Σ dy, dγ = Σ dy x̂, dx = γ / √(v + ε) · (dy − dβ / M − x̂ dγ / M), fixed: γ / √(v + ε) dy. */
export function lowerBatchNormGradient(layouts: Layouts, gradient: DeferredGradient): readonly boolean[] {
  const { node, inputs, outputs, gradients, results } = gradient
  const [x, scale] = inputs as [string, string]
  const [given, variance] = (isTraining(node) ? outputs.slice(1) : inputs.slice(3)) as [string?, string?]
  const mean = layouts.shiftedMeans.get(x) ?? (given && layouts.plain(given))
  if (!mean || !variance || !isPure(node) || !layouts.isBlockable(x) || !layouts.isBlocked(x)) return []
  const { emit } = layouts
  const [source, dy] = [layouts.blocked(x), layouts.blocked(gradients[0]!)]
  const shape = emit.shape(x)
  const count = sizeOf(shape) / shape[1]!
  const inverse = inverseDeviation(emit, layouts.plain(variance), node)
  // Both are means: sums over M.
  const shareOfBias = meanOf(layouts, dy)
  const products = meanOfProducts(layouts, dy, source)
  const shareOfScale = emit.mul(emit.sub(products, emit.mul(mean, shareOfBias)), inverse)
  const [dx, dScale, dBias] = results
  if (dScale !== undefined) layouts.give(dScale, emit.scale(shareOfScale, count))
  if (dBias !== undefined) layouts.give(dBias, emit.scale(shareOfBias, count))
  if (dx !== undefined) {
    const factor = emit.mul(layouts.plain(scale), inverse)
    if (!isTraining(node)) {
      layouts.setPending(dx, { addsUp: true, emit: ({ sum }) => affine(layouts, dy, factor, undefined, { sum }) })
      return [true, true, true]
    }
    const slope = emit.neg(emit.mul(emit.mul(factor, inverse), shareOfScale))
    const offset = emit.neg(emit.add(emit.mul(factor, shareOfBias), emit.mul(slope, mean)))
    layouts.setPending(dx, {
      addsUp: true,
      emit: ({ sum }) =>
        affine(layouts, dy, factor, undefined, { sum: affine(layouts, source, slope, offset, { sum }) }),
    })
  }
  return [true, true, true]
}
