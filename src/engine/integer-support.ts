/**
 * What integers bring on the machine at hand, found by running small networks: whether sums of uint8 × int8 products
 * saturate, and how long a convolution takes in each flavour of integers, float being 1.
 *
 * Processors without VNNI multiply uint8 by int8 and add pairs of products in 16 bits, so that 2 · 255 · 127 is cut off
 * at 32767; weights of 7 bits keep them within. Which flavour is fast depends on the kernels that the runtime has for
 * the processor (or for WebAssembly): nothing else tells.
 */
import { checkAborted, type TaskOptions } from '../core/index.ts'
import { type Evaluator, type Executable, GraphBuilder, type Model, type TensorMap } from '../graph/index.ts'
import { sizeOf, Tensor, toFloat64 } from '../tensor/index.ts'

/** Types of activations and weights, in this order. */
export type IntegerFlavour = 'u8s8' | 's8s8' | 'u8u8'

/** All flavours, the one that other things being equal is taken first. */
export const INTEGER_FLAVOURS: readonly IntegerFlavour[] = ['u8s8', 's8s8', 'u8u8']

/** What {@link integerSupport} found. */
export interface IntegerSupport {
  /** Whether products of uint8 activations and int8 weights of 8 bits come out wrong. */
  readonly saturates: boolean
  /** Time of a convolution in float over its time in integers; above 1 is faster. */
  readonly speedup: Readonly<Record<IntegerFlavour, number>>
  /** The fastest flavour; the first of those within a tenth of it. */
  readonly fastest: IntegerFlavour
  /** Milliseconds that the tests took. */
  readonly milliseconds: number
}

/** Options of {@link integerSupport}. */
export interface IntegerSupportOptions extends TaskOptions {
  /**
   * Time that the tests may take, in milliseconds; default 450. Each flavour runs at least three times, and no longer
   * where one is far ahead.
   */
  readonly budget?: number | undefined
}

const CHANNELS = 128
const EDGE = 14
/** Flavours this near to the fastest count as equal. */
const SAME = 0.9
const LEAST_RUNS = 3
/** A flavour so many times as fast as any other and as float needs no further runs. */
const CLEAR = 1.5

const known = new WeakMap<Evaluator, Promise<IntegerSupport>>()

/**
 * What integers bring on the machine that an evaluator runs on; measured once per evaluator, in at most about half a second.
 *
 * @throws WhittleError `ENGINE` when the runtime has no integer operators; `ABORTED`.
 */
export function integerSupport(evaluator: Evaluator, options: IntegerSupportOptions = {}): Promise<IntegerSupport> {
  let found = known.get(evaluator)
  if (!found) {
    found = measure(evaluator, options)
    known.set(evaluator, found)
    // What was interrupted is measured again the next time.
    found.catch(() => known.delete(evaluator))
  }
  return found
}

async function measure(evaluator: Evaluator, options: IntegerSupportOptions): Promise<IntegerSupport> {
  const start = performance.now()
  const saturates = await sumsSaturate(evaluator)
  checkAborted(options.signal)
  const speedup = await measureFlavours(evaluator, start + (options.budget ?? 450), options.signal)
  const most = Math.max(...Object.values(speedup))
  const fastest = INTEGER_FLAVOURS.find((flavour) => speedup[flavour] >= SAME * most)!
  return { saturates, speedup, fastest, milliseconds: performance.now() - start }
}

/**
 * Whether sums of uint8 × int8 products saturate, in a matrix product and in a convolution.
 *
 * @throws WhittleError `ENGINE`.
 */
export async function sumsSaturate(evaluator: Evaluator): Promise<boolean> {
  const length = 64
  const product = new GraphBuilder('saturation')
  const a = product.input('a', 'uint8', [4, length])
  const b = product.constant(Tensor.of(new Int8Array(length * 16).fill(127), [length, 16]))
  product.output(product.op('MatMulInteger', [a, b]), 'int32')
  const rows = Tensor.of(new Uint8Array(4 * length).fill(255), [4, length])
  const sums = await firstOutput(evaluator, product.model(), { a: rows })
  if (toFloat64(sums).some((sum) => sum !== 255 * 127 * length)) return true
  const pictures = Tensor.of(new Float32Array(length * 16).fill(255), [1, length, 4, 4])
  const weight = Tensor.of(new Float32Array(16 * length).fill(127), [16, length, 1, 1])
  const model = convolutions('u8s8', [weight], { input: 1, output: 127 * length }, pictures.shape)
  const values = await firstOutput(evaluator, model, { x: pictures })
  return toFloat64(values).some((value) => Math.abs(value / (255 * 127 * length) - 1) > 0.01)
}

async function firstOutput(evaluator: Evaluator, model: Model, feeds: TensorMap): Promise<Tensor> {
  const executable = await evaluator.load(model)
  try {
    return Object.values(await executable.run(feeds))[0]!
  } finally {
    await executable.release()
  }
}

/** A residual block of two 3 × 3 convolutions of 128 channels, in turns; the least time of each flavour. */
async function measureFlavours(
  evaluator: Evaluator,
  end: number,
  signal: AbortSignal | undefined,
): Promise<Record<IntegerFlavour, number>> {
  const shape = [1, CHANNELS, EDGE, EDGE]
  // Any numbers will do, and quickly.
  const numbers = (extents: readonly number[], spread: number): Tensor => {
    const values = new Float32Array(sizeOf(extents))
    const step = spread / 1024
    for (let i = 0; i < values.length; i++) values[i] = step * (((i * 7919) & 2047) - 1024)
    return Tensor.of(values, extents)
  }
  const weights = [1, 2].map(() => numbers([CHANNELS, CHANNELS, 3, 3], 127))
  const feeds = { x: numbers(shape, 100) }
  const subjects = [undefined, ...INTEGER_FLAVOURS]
  const loaded: { executable: Executable; least: number }[] = []
  try {
    for (const flavour of subjects) {
      const model = convolutions(flavour, weights, { input: 1, output: 1000 }, shape)
      loaded.push({ executable: await evaluator.load(model), least: Number.POSITIVE_INFINITY })
    }
    for (let round = 0; round < LEAST_RUNS + 1 || (performance.now() < end && !isClear(loaded)); round++) {
      checkAborted(signal)
      for (const subject of loaded) {
        const start = performance.now()
        await subject.executable.run(feeds)
        // The first round makes buffers and warms up.
        if (round > 0) subject.least = Math.min(subject.least, performance.now() - start)
      }
    }
  } finally {
    for (const { executable } of loaded) await executable.release()
  }
  const [float, ...flavours] = loaded.map(({ least }) => least)
  return Object.fromEntries(INTEGER_FLAVOURS.map((flavour, i) => [flavour, float! / flavours[i]!])) as Record<
    IntegerFlavour,
    number
  >
}

/** Whether one subject is far ahead of all others. */
function isClear(subjects: readonly { readonly least: number }[]): boolean {
  const [best, next] = subjects.map(({ least }) => least).toSorted((a, b) => a - b)
  return best! * CLEAR < next!
}

/** Scale of the input, and of every convolution's output relative to that of its input. */
interface ConvolutionScales {
  readonly input: number
  readonly output: number
}

/**
 * Convolutions in a row, in float or in integers between QuantizeLinear and DequantizeLinear; two are a residual block,
 * whose sum reads the first one's output too: there are runtimes that fuse only what is read once.
 */
function convolutions(
  flavour: IntegerFlavour | undefined,
  weights: readonly Tensor[],
  scales: ConvolutionScales,
  shape: readonly number[],
): Model {
  const builder = new GraphBuilder('integer-test')
  const scalar = (value: number): string => builder.constant(Tensor.of(Float32Array.of(value), []))
  const zeroOf = (isSigned: boolean, value: number): string =>
    builder.constant(Tensor.of(isSigned ? Int8Array.of(value) : Uint8Array.of(value), []))
  const signedInput = flavour === 's8s8'
  const signedWeight = flavour !== 'u8u8'
  const activationZero = signedInput ? -128 : 0
  const requantize = (value: string, scale: number): string => {
    if (!flavour) return value
    const operands = [scalar(scale), zeroOf(signedInput, activationZero)]
    return builder.op('DequantizeLinear', [builder.op('QuantizeLinear', [value, ...operands]), ...operands])
  }
  const weightOf = (weight: Tensor): string => {
    if (!flavour) return builder.constant(weight)
    const integers = signedWeight ? new Int8Array(weight.size) : new Uint8Array(weight.size)
    const values = weight.data as Float32Array
    const zero = signedWeight ? 0 : 128
    for (let i = 0; i < values.length; i++) integers[i] = Math.trunc(values[i]!) + zero
    const stored = builder.constant(Tensor.of(integers, weight.shape))
    return builder.op('DequantizeLinear', [stored, scalar(1), zeroOf(signedWeight, zero)])
  }
  let scale = scales.input
  const between: string[] = []
  let value = requantize(builder.input('x', 'float32', [...shape]), scale)
  for (const weight of weights) {
    const pad = (weight.shape[2]! - 1) / 2
    value = builder.op('Conv', [value, weightOf(weight)], { pads: [pad, pad, pad, pad] })
    scale *= scales.output
    value = requantize(value, scale)
    between.push(value)
  }
  if (between.length > 1) value = requantize(builder.op('Add', [between[0]!, value]), scale)
  builder.output(value, 'float32')
  return builder.model(13)
}
