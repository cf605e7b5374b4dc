/** Rounding one layer from sampled rows. */
import type { Site } from '../../compress/index.ts'
import { createRandom, type TaskOptions } from '../../core/index.ts'
import type { MatrixEngine } from '../../decompose/index.ts'
import type { Model } from '../../graph/index.ts'
import { type LayerProblem, layerProblem } from './layer-problem.ts'
import { learnUnit } from './learn.ts'
import type { LinearMap } from './linear-map.ts'
import type { ResolvedRounding, RoundingContext } from './options.ts'
import { descendCoordinates, descendPairs, LONGEST_PAIRED, quadraticLoss, roundInSequence } from './quadratic.ts'
import { activationBehind, rowBatches, rowUnit } from './row-unit.ts'
import type { LayerRows } from './rows.ts'
import { alphaOf } from './soft-rounding.ts'
import { lowerLevels, nearestLevels, type WeightGrid } from './weight-grid.ts'

/** A layer with what its rounding needs. */
export interface LayerTask {
  readonly site: Site
  readonly map: LinearMap
  readonly grid: WeightGrid
  /** Bias in the quantized network. */
  readonly bias: Float32Array
}

/** Integers of a layer, and what they cost. */
export interface RoundedLayer {
  /** Name of the node. */
  readonly node: string
  /** Error of the layer's output on the data, before its activation function, relative: rounded to nearest, and now. */
  readonly outputError: { readonly nearest: number; readonly rounded: number }
  /** Elements that are not rounded to nearest, as a share of all. */
  readonly changed: number
}

/** Share of the mean of H's diagonal that is added to it, so that directions without data do not run away. */
const DAMPING = 0.01

/** Multiples of a layer's weight by `gptq` or `adaround`. */
export async function roundLayer(
  task: LayerTask,
  rows: LayerRows,
  model: Model,
  options: ResolvedRounding,
  context: RoundingContext,
): Promise<{ levels: Float64Array; outcome: RoundedLayer }> {
  const { site, map, grid, bias } = task
  const problem = await layerProblem(context.matrices, map, grid, rows, bias)
  const nearest = nearestLevels(grid)
  const levels =
    options.method === 'adaround'
      ? await roundByGradients(task, rows, model, options, context)
      : await roundByMoments(problem, context)
  return { levels, outcome: await outcomeOf(context.matrices, site.name, problem, nearest, levels) }
}

/** What a layer's rounding does to its output. */
async function outcomeOf(
  matrices: MatrixEngine,
  node: string,
  { groups, power, floor }: LayerProblem,
  nearest: Float64Array,
  levels: Float64Array,
): Promise<RoundedLayer> {
  const errorOf = async (chosen: Float64Array): Promise<number> => {
    let loss = floor
    let at = 0
    for (const group of groups) {
      loss += await quadraticLoss(matrices, group, chosen.subarray(at, at + group.grid.weight.length))
      at += group.grid.weight.length
    }
    return power > 0 ? Math.sqrt(Math.max(loss, 0) / power) : 0
  }
  const changed = levels.reduce((count, level, i) => count + (level === nearest[i] ? 0 : 1), 0)
  return {
    node,
    outputError: { nearest: await errorOf(nearest), rounded: await errorOf(levels) },
    changed: changed / Math.max(levels.length, 1),
  }
}

async function roundByMoments({ groups }: LayerProblem, { matrices }: RoundingContext): Promise<Float64Array> {
  const parts: Float64Array[] = []
  for (const group of groups) {
    const sequence = await roundInSequence(matrices, group, DAMPING)
    await descendCoordinates(matrices, group, sequence, REACH)
    if (group.length > LONGEST_PAIRED) {
      parts.push(sequence)
      continue
    }
    // Another start is tried where that takes seconds, not minutes.
    const near = nearestLevels(group.grid)
    await descendCoordinates(matrices, group, near, REACH)
    const [ofNear, ofSequence] = [
      await quadraticLoss(matrices, group, near),
      await quadraticLoss(matrices, group, sequence),
    ]
    const best = ofNear < ofSequence ? near : sequence
    await descendPairs(matrices, group, best, REACH)
    parts.push(best)
  }
  const levels = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    levels.set(part, at)
    at += part.length
  }
  return levels
}

/** How far beyond its own two neighbours a weight may be rounded. */
const REACH = 1

async function roundByGradients(
  { site, map, grid, bias }: LayerTask,
  rows: LayerRows,
  model: Model,
  options: ResolvedRounding,
  context: RoundingContext,
): Promise<Float64Array> {
  const random = createRandom(options.seed)
  const activation = activationBehind(model, site.node.outputs[0]!)
  const { data, rows: size } = rowBatches(map, rows, random)
  const unit = rowUnit(map, grid, bias, size, activation, model)
  const lower = lowerLevels(grid)
  const start = startOf(grid, lower)
  const learned = await learnUnit(
    context.evaluator,
    unit,
    data,
    new Map([[unit.weights[0]!.name, start]]),
    settingsOf(options),
    `layer '${site.name}'`,
    progressOf(context, site.name),
  )
  return chosenLevels(grid, lower, learned.shares.get(unit.weights[0]!.name)!)
}

/** α that stand for the weights themselves. */
export function startOf({ weight, step }: WeightGrid, lower: Float64Array): Float32Array {
  return Float32Array.from(lower, (level, i) => alphaOf(Math.min(Math.max(weight[i]! / step[i]! - level, 0), 1)))
}

/** Multiples that learned shares stand for. */
export function chosenLevels({ least, most }: WeightGrid, lower: Float64Array, shares: Float32Array): Float64Array {
  return lower.map((level, i) => Math.min(Math.max(level + (shares[i]! >= 0.5 ? 1 : 0), least[i]!), most[i]!))
}

/** Settings of {@link learnUnit} from options. */
export function settingsOf(options: ResolvedRounding) {
  return {
    steps: options.iterations,
    strength: options.regularization,
    betas: options.betas,
    warmUp: options.warmUp,
    learningRate: options.learningRate,
    seed: options.seed,
  }
}

/** Progress within one layer or block, under its name. */
export function progressOf({ signal, onProgress }: TaskOptions, item: string): TaskOptions {
  return { signal, onProgress: onProgress && ((progress) => onProgress({ ...progress, item })) }
}
