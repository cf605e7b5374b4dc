/**
 * Rounding all layers of a block together, for the least squared error of the block's output.
 *
 * Source: Y. Li et al., "BRECQ: Pushing the Limit of Post-Training Quantization by Block Reconstruction", ICLR 2021.
 * Here the search starts from roundings that serve each layer, and its result is taken only where it serves the block.
 */
import type { Typed } from '../../autodiff/index.ts'
import { type Random, WhittleError } from '../../core/index.ts'
import { liftOpset, type Model, tensorType } from '../../graph/index.ts'
import { byteLengthOf, sizeOf, Tensor, toFloat32 } from '../../tensor/index.ts'
import { partBetween } from './cut.ts'
import { dropRoundings } from './drop.ts'
import { learnUnit, type UnitData } from './learn.ts'
import type { ResolvedRounding, RoundingContext } from './options.ts'
import { chosenLevels, type LayerTask, progressOf, settingsOf } from './round-layer.ts'
import type { RoundingUnit, SoftWeight } from './rounding-graph.ts'
import { alphaOf } from './soft-rounding.ts'

/** What lies between two values, in the quantized network. */
export interface Block {
  readonly tasks: readonly LayerTask[]
  /** Name of each layer's weight in the quantized network. */
  readonly weights: readonly string[]
  /** Multiples that the search starts from. */
  readonly levels: readonly Float64Array[]
  /** Value that the block is computed from. */
  readonly input: string
  /** Its output. */
  readonly output: string
}

/** Samples of one step, unless there are fewer. */
const SAMPLES_PER_STEP = 32

/** Bytes of a block's inputs and targets at most. */
const MOST_BLOCK_BYTES = 512 * 2 ** 20

/** Samples of a block's input and target, in random order. */
export class BlockSamples {
  readonly #inputs: Tensor[] = []
  readonly #targets: Tensor[] = []
  #bytes = 0

  addInput(tensor: Tensor): void {
    if (this.#fits(tensor)) this.#inputs.push(tensor)
  }

  addTarget(tensor: Tensor): void {
    if (this.#targets.length < this.#inputs.length) this.#targets.push(tensor)
  }

  #fits(tensor: Tensor): boolean {
    this.#bytes += 2 * tensor.byteLength
    return this.#inputs.length === 0 || this.#bytes <= MOST_BLOCK_BYTES
  }

  /** Batches of one size; samples that do not fill one are left out. */
  batches(input: string, random: Random): { data: UnitData; size: number } {
    const [x, y] = [stacked(this.#inputs), stacked(this.#targets)]
    const count = x.shape[0]!
    const size = Math.min(SAMPLES_PER_STEP, count)
    const batches = Math.floor(count / size)
    const order = random.shuffle(Int32Array.from({ length: count }, (_, i) => i)).subarray(0, batches * size)
    const pick = (tensor: Tensor): Tensor => {
      const each = tensor.size / count
      const from = toFloat32(tensor)
      const out = new Float32Array(order.length * each)
      for (const [to, sample] of order.entries()) out.set(from.subarray(sample * each, (sample + 1) * each), to * each)
      return Tensor.of(out, [batches, size, ...tensor.shape.slice(1)])
    }
    return { data: { inputs: new Map([[input, pick(x)]]), target: pick(y), batches }, size }
  }
}

function stacked(parts: readonly Tensor[]): Tensor {
  const [first] = parts
  const count = parts.reduce((sum, { shape }) => sum + shape[0]!, 0)
  const bytes = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part.bytes, at)
    at += byteLengthOf(part.dtype, part.size)
  }
  return Tensor.fromBytes(first!.dtype, [count, ...first!.shape.slice(1)], bytes)
}

/**
 * Multiples of a block's weights, or the reason why they cannot be learned together.
 *
 * @param fake the quantized network, with the weights that `levels` stand for.
 */
export async function roundBlock(
  fake: Model,
  block: Block,
  { data, size }: { data: UnitData; size: number },
  options: ResolvedRounding,
  context: RoundingContext,
): Promise<Float64Array[] | string> {
  const x = data.inputs.get(block.input)!
  const shape = [size, ...x.shape.slice(2)]
  const part = partBetween(fake, new Map([[block.input, tensorType(x.dtype, shape)]]), [block.output])
  if (part.graph.inputs.length > 1) return 'The block reads an input of the network beside.'
  const soft = block.tasks.map((task, at) => softWeightOf(task, block.weights[at]!, block.levels[at]!))
  try {
    const model = liftOpset(part, 18)
    const types = new Map<string, Typed>(await context.observe(model, { batch: size }))
    if (options.drop > 0) dropRoundings(model, types, options.drop, options.seed)
    const output = types.get(block.output)
    if (output?.shape.join() !== [size, ...data.target.shape.slice(2)].join()) return 'Its output depends on the batch.'
    const rows = sizeOf(output.shape) / (output.shape[1] ?? 1)
    const unit: RoundingUnit = { model, types, weights: soft.map(({ weight }) => weight), rows }
    const start = new Map(soft.map(({ weight, start }) => [weight.name, start]))
    const what = `the block of ${block.tasks.map(({ site }) => `'${site.name}'`).join(', ')}`
    const item = block.tasks.at(-1)!.site.name
    const learned = await learnUnit(
      context.evaluator,
      unit,
      data,
      start,
      settingsOf(options),
      what,
      progressOf(context, item),
    )
    return soft.map(({ weight, lower }, at) => {
      const { map, grid } = block.tasks[at]!
      const shares = learned.shares.get(weight.name)!
      return chosenLevels(
        grid,
        lower,
        Float32Array.from(map.weightOrder, (to) => shares[to]!),
      )
    })
  } catch (error) {
    if (error instanceof WhittleError && error.code === 'UNSUPPORTED') return error.message
    throw error
  }
}

/**
 * How much of the start is the rounding that serves the layer, and how much the weight itself. Measured on blocks of
 * ResNet-20 at 3 bits: from 0.5 on a few hundred steps end worse than they started, from 0.9 on better.
 */
const TRUST = 0.95

function softWeightOf(
  { map, grid, site }: LayerTask,
  name: string,
  levels: Float64Array,
): { weight: SoftWeight; lower: Float64Array; start: Float32Array } {
  const share = (i: number): number => grid.weight[i]! / grid.step[i]!
  // The two multiples to choose from: the one that there is, and the next one on the weight's side.
  const lower = levels.map((level, i) => (share(i) >= level ? level : level - 1))
  const scatter = (values: ArrayLike<number>): Float32Array => {
    const out = new Float32Array(values.length)
    for (const [i, to] of map.weightOrder.entries()) out[to] = values[i]!
    return out
  }
  const start = lower.map((level, i) => {
    const fraction = Math.min(Math.max(share(i) - level, 0), 1)
    return alphaOf(TRUST * (levels[i]! - level) + (1 - TRUST) * fraction)
  })
  return {
    weight: {
      name,
      shape: site.weight.shape,
      lower: scatter(lower),
      step: scatter(grid.step),
      least: scatter(grid.least),
      most: scatter(grid.most),
    },
    lower,
    start: scatter(start),
  }
}

/** Adds up a relative error over batches. */
export class RelativeError {
  #error = 0
  #power = 0

  /** @param wanted and `found` of one shape. */
  add(wanted: Tensor, found: Tensor): void {
    const [a, b] = [toFloat32(wanted), toFloat32(found)]
    for (let i = 0; i < a.length; i++) {
      this.#error += (a[i]! - b[i]!) ** 2
      this.#power += a[i]! ** 2
    }
  }

  /** ‖wanted − found‖ / ‖wanted‖ */
  get value(): number {
    return this.#power > 0 ? Math.sqrt(this.#error / this.#power) : 0
  }
}
