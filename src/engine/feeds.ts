/** What to feed a model when nobody gave data: concrete input shapes and seeded random tensors. */
import { createRandom, fail } from '../core/index.ts'
import type { Dimension, Model, ValueInfo } from '../graph/index.ts'
import { DTYPES, type DType, fromNumbers, sizeOf, Tensor } from '../tensor/index.ts'

/** How open axes of inputs get their lengths. */
export interface InputShapeOptions {
  /** Shapes of inputs by name; needed where another axis than the first has no fixed length. */
  readonly inputShapes?: Readonly<Record<string, readonly number[]>> | undefined
  /** Length of a first axis that has no fixed one; default 1. */
  readonly batch?: number | undefined
}

/** Inputs that a run has to be fed: those that are not just names of initializers. */
export function requiredInputs(model: Model): ValueInfo[] {
  const { graph } = model
  return graph.inputs.filter(
    (input) => !graph.initializers.has(input.name) && !graph.sparseInitializers.has(input.name),
  )
}

const shown = (shape: readonly Dimension[]): string => `[${shape.map((extent) => extent ?? '?').join(', ')}]`
const isFixed = (extent: Dimension): extent is number => typeof extent === 'number' && extent > 0

/**
 * A concrete shape and element type for each input the model has to be fed.
 *
 * A first axis without a fixed length is taken for the batch. Symbolic axes get the length that another input's given
 * shape, or the batch, gives their name.
 *
 * @throws WhittleError `INVALID_ARGUMENT` when another axis stays open, or a given shape does not fit or has no input.
 */
export function inputShapesOf(
  model: Model,
  options: InputShapeOptions = {},
): Map<string, { dtype: DType; shape: readonly number[] }> {
  const { inputShapes = {}, batch = 1 } = options
  const inputs = requiredInputs(model).map((input) => {
    if (input.type?.kind !== 'tensor')
      fail('UNSUPPORTED', `Input '${input.name}': must be a tensor; sequences, maps and optionals cannot be fed.`)
    return { name: input.name, dtype: input.type.dtype ?? 'float32', declared: input.type.shape }
  })
  for (const name of Object.keys(inputShapes))
    if (!inputs.some((input) => input.name === name))
      fail(
        'INVALID_ARGUMENT',
        `Input shape for '${name}': the model has no such input; its inputs are ${inputs.map((input) => `'${input.name}'`).join(', ')}.`,
      )
  const symbols = new Map<string, number>()
  for (const { name, declared } of inputs) {
    const given = inputShapes[name]
    if (given) bindGiven(name, declared, given, symbols)
  }
  for (const { name, declared } of inputs) {
    const first = declared?.[0]
    if (!inputShapes[name] && typeof first === 'string' && first !== '' && !symbols.has(first))
      symbols.set(first, batch)
  }
  const shapes = new Map<string, { dtype: DType; shape: readonly number[] }>()
  for (const { name, dtype, declared } of inputs) {
    const given = inputShapes[name]
    const shape: readonly (number | undefined)[] | undefined =
      given ?? declared?.map((extent, axis) => resolve(extent, axis, symbols, batch))
    if (!shape || shape.includes(undefined))
      fail(
        'INVALID_ARGUMENT',
        `Input '${name}' ${declared ? shown(declared) : 'of unknown rank'}: every axis but the first must have a fixed length. Give the shape, e.g. --input-shape ${name}:${example(declared)}.`,
      )
    shapes.set(name, { dtype, shape: shape as readonly number[] })
  }
  return shapes
}

function bindGiven(
  name: string,
  declared: readonly Dimension[] | undefined,
  given: readonly number[],
  symbols: Map<string, number>,
): void {
  const valid =
    given.every((extent) => Number.isInteger(extent) && extent >= 1) &&
    (!declared ||
      (declared.length === given.length &&
        declared.every((extent, axis) => !isFixed(extent) || extent === given[axis])))
  if (!valid)
    fail(
      'INVALID_ARGUMENT',
      `Input shape for '${name}': must fit ${declared ? shown(declared) : 'the input'}, each length at least 1; got [${given.join(', ')}].`,
    )
  for (const [axis, extent] of (declared ?? []).entries())
    if (typeof extent === 'string' && extent !== '') symbols.set(extent, given[axis]!)
}

function resolve(
  extent: Dimension,
  axis: number,
  symbols: ReadonlyMap<string, number>,
  batch: number,
): number | undefined {
  if (isFixed(extent)) return extent
  const bound = typeof extent === 'string' ? symbols.get(extent) : undefined
  return bound ?? (axis === 0 ? batch : undefined)
}

function example(declared: readonly Dimension[] | undefined): string {
  const shape = declared ?? [1, 3, 224, 224]
  return shape.map((extent, axis) => (isFixed(extent) ? extent : axis === 0 ? 1 : axis === 1 ? 3 : 224)).join('x')
}

/** Options of {@link randomFeeds}. */
export interface RandomFeedOptions extends InputShapeOptions {
  /** Default 0. */
  readonly seed?: number | undefined
  /**
   * The value of every integer element, which is an index or a length, one cannot know which; default 1, because some
   * operators never end on a length of 0.
   */
  readonly integer?: 0 | 1 | undefined
}

/**
 * Feeds for a trial run: floats normally distributed with mean 0 and variance 1, integers constant, booleans true,
 * strings empty. Equal seeds give equal feeds.
 *
 * @throws WhittleError `INVALID_ARGUMENT` as {@link inputShapesOf}.
 */
export function randomFeeds(model: Model, options: RandomFeedOptions = {}): Record<string, Tensor> {
  const random = createRandom(options.seed ?? 0)
  const feeds: Record<string, Tensor> = {}
  for (const [name, { dtype, shape }] of inputShapesOf(model, options))
    feeds[name] = filled(dtype, shape, random.normal, options.integer ?? 1)
  return feeds
}

function filled(dtype: DType, shape: readonly number[], next: () => number, integer: 0 | 1): Tensor {
  const size = sizeOf(shape)
  switch (dtype) {
    case 'float32':
    case 'float64':
    case 'float16':
    case 'bfloat16':
      return fromNumbers(
        Float64Array.from({ length: size }, () => next()),
        shape,
        dtype,
      )
    case 'string':
      return Tensor.ofStrings(new Array<string>(size).fill(''), shape)
    case 'bool':
      return constantOf(dtype, shape, 1)
    case 'int8':
    case 'uint8':
    case 'int16':
    case 'uint16':
    case 'int32':
    case 'uint32':
    case 'int64':
    case 'uint64':
      return constantOf(dtype, shape, integer)
    default:
      return fail('UNSUPPORTED', `Inputs of type ${dtype} cannot be filled with random numbers.`)
  }
}

function constantOf(dtype: DType, shape: readonly number[], value: 0 | 1): Tensor {
  const width = DTYPES[dtype].bits / 8
  const bytes = new Uint8Array(sizeOf(shape) * width)
  for (let at = 0; at < bytes.length; at += width) bytes[at] = value
  return Tensor.fromBytes(dtype, shape, bytes)
}
