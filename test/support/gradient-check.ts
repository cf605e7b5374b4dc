/** Gradient rules against finite differences. */
import { gradient } from '../../src/autodiff/index.ts'
import { createRandom, type Random } from '../../src/core/index.ts'
import { observeShapes, withOutputs } from '../../src/engine/index.ts'
import {
  type AttributeInput,
  type Executable,
  GraphBuilder,
  type Model,
  type TensorMap,
} from '../../src/graph/index.ts'
import { type DType, fromNumbers, isFloat, sizeOf, Tensor, toFloat64 } from '../../src/tensor/index.ts'
import { evaluator } from './run-model.ts'
import { relativeErrorOf } from './tensors.ts'

type Precision = 'float32' | 'float64'

/**
 * An input of the operator: a shape is a random tensor to differentiate by; a tensor is a constant, floats of which
 * are converted to the element type under test; `undefined` is an omitted input.
 */
export type CaseInput = readonly number[] | Tensor | undefined

/** What to differentiate, and how. */
export interface GradientCase {
  readonly inputs: readonly CaseInput[]
  readonly attributes?: Readonly<Record<string, AttributeInput | undefined>>
  /** How many outputs the node has; the loss is over all of a floating-point type. Default 1. */
  readonly outputs?: number
  /** Draws an element of an input; default: normal. Keep away from kinks by more than `step`. */
  readonly sample?: (random: Random, input: number) => number
  /** `'float32'` only where ONNX Runtime has no float64 kernel and no reference is given; needs a looser tolerance. */
  readonly precision?: Precision
  /** Distance of the differences; default 1e-5 in float64, 0.02 in float32. */
  readonly step?: number
  readonly opset?: number
  readonly seed?: number
  /**
   * The same function of operators that have float64 kernels, where the operator itself has none: the finite
   * differences are then those of this graph in float64, and the operator's float32 gradient is compared with them.
   */
  readonly reference?: GradientCase['build']
  /** Builds another graph than one node: gets the names of the inputs, gives those of the outputs. */
  readonly build?: (builder: GraphBuilder, inputs: readonly string[]) => readonly string[]
}

/** Relative errors ‖numeric − symbolic‖ / ‖numeric‖ of one case. */
export interface GradientErrors {
  /** The worst over the inputs, against finite differences. */
  readonly numeric: number
  /** The worst over the inputs of the float32 graph against the float64 graph; 0 where there is none in float64. */
  readonly float32: number
}

/**
 * Differentiates Σ outputs · (random constants) by every input given as a shape, symbolically and by central
 * differences of each element.
 *
 * An input whose numeric gradient is zero is an error of the case: nothing would be tested.
 */
export async function gradientErrors(operator: string, options: GradientCase): Promise<GradientErrors> {
  const precision = options.reference ? 'float32' : (options.precision ?? 'float64')
  const problem = await pose(operator, options, precision)
  const symbolic = await symbolicGradients(problem)
  const substitute = options.reference && (await pose(operator, { ...options, build: options.reference }, 'float64'))
  const numeric = await numericGradients(substitute ?? problem, options.step)
  const worst = (expected: Map<string, Float64Array>, actual: Map<string, Float64Array>): number =>
    Math.max(...[...expected].map(([name, values]) => relativeErrorOf(values, actual.get(name)!)))
  for (const [name, values] of numeric)
    if (values.every((value) => value === 0)) throw new Error(`${operator}: the gradient of ${name} is zero.`)
  const error = worst(numeric, symbolic)
  if (precision === 'float32') return { numeric: error, float32: 0 }
  const single = await symbolicGradients(await pose(operator, options, 'float32'))
  return { numeric: error, float32: worst(symbolic, single) }
}

/** Of the stronger levels some replace float64 operators by ones that have float32 kernels only. */
const PLAIN = { optimization: 'basic' } as const

interface Problem {
  /** The outputs that the loss is over are its outputs. */
  readonly model: Model
  readonly feeds: TensorMap
  readonly precision: Precision
  /** Random factors of the outputs. */
  readonly factors: ReadonlyMap<string, Float64Array>
}

async function pose(operator: string, options: GradientCase, precision: Precision): Promise<Problem> {
  const random = createRandom(options.seed ?? 1)
  const builder = new GraphBuilder()
  const feeds: Record<string, Tensor> = {}
  const sample = options.sample ?? (() => random.normal())
  const inputs = options.inputs.map((input, at) => {
    if (input === undefined) return ''
    if (input instanceof Tensor) return builder.constant(retype(input, precision))
    const values = Float64Array.from({ length: sizeOf(input) }, () => Math.fround(sample(random, at)))
    feeds[`x${at}`] = fromNumbers(values, input, precision)
    return builder.input(`x${at}`, precision, input)
  })
  const names = Array.from({ length: options.outputs ?? 1 }, (_, at) => `y${at}`)
  const outputs = options.build
    ? options.build(builder, inputs)
    : builder.ops(operator, inputs, options.attributes ?? {}, names)
  const base = builder.model(options.opset ?? 20)
  const types = await observeShapes(evaluator, withOutputs(base, outputs))
  const floats = outputs.filter((name) => isFloat(types.get(name)!.dtype))
  const factors = new Map<string, Float64Array>()
  for (const name of floats)
    factors.set(
      name,
      Float64Array.from({ length: sizeOf(types.get(name)!.shape) }, () => Math.fround(random.normal())),
    )
  return { model: withOutputs(base, floats), feeds, precision, factors }
}

function retype(tensor: Tensor, dtype: DType): Tensor {
  return isFloat(tensor.dtype) ? fromNumbers(toFloat64(tensor), tensor.shape, dtype) : tensor
}

async function symbolicGradients({ model, feeds, precision, factors }: Problem): Promise<Map<string, Float64Array>> {
  const types = await observeShapes(evaluator, model)
  const withSeeds: Model = { ...model, graph: { ...model.graph, initializers: new Map(model.graph.initializers) } }
  const known = new Map(types)
  const seeds = new Map<string, string>()
  for (const [name, values] of factors) {
    const { shape } = types.get(name)!
    withSeeds.graph.initializers.set(`seed_${name}`, fromNumbers(values, shape, precision))
    seeds.set(name, `seed_${name}`)
    known.set(`seed_${name}`, { dtype: precision, shape })
  }
  const withRespectTo = Object.keys(feeds)
  const result = gradient(withSeeds, { withRespectTo, types: known, seeds })
  const names = [...result.gradients.values()]
  const executable = await evaluator.load(withOutputs(result.model, names), PLAIN)
  try {
    const found = await executable.run(feeds, [...new Set(names)])
    return new Map(
      withRespectTo.map((name) => {
        const tensor = found[result.gradients.get(name)!]!
        if (tensor.shape.join() !== feeds[name]!.shape.join() || tensor.dtype !== precision)
          throw new Error(`The gradient of ${name} is ${tensor.dtype} [${tensor.shape}].`)
        return [name, toFloat64(tensor)]
      }),
    )
  } finally {
    await executable.release()
  }
}

/** Of fourth order, so that float32 can take steps that are large against its rounding. */
async function numericGradients(problem: Problem, step?: number): Promise<Map<string, Float64Array>> {
  const { model, feeds, precision } = problem
  const h = step ?? (precision === 'float64' ? 1e-5 : 0.02)
  const executable = await evaluator.load(model, PLAIN)
  try {
    const gradients = new Map<string, Float64Array>()
    for (const [name, tensor] of Object.entries(feeds)) {
      const values = new Float64Array(tensor.size)
      for (let at = 0; at < tensor.size; at++) {
        const at1 = await difference(executable, problem, name, at, h)
        const at2 = await difference(executable, problem, name, at, 2 * h)
        values[at] = (4 * at1 - at2) / 3
      }
      gradients.set(name, values)
    }
    return gradients
  } finally {
    await executable.release()
  }
}

/** (loss(x + h) − loss(x − h)) / 2h, by the h that is left after rounding. */
async function difference(
  executable: Executable,
  { feeds, precision, factors }: Problem,
  input: string,
  at: number,
  h: number,
): Promise<number> {
  const original = feeds[input]!
  const shifted = async (amount: number): Promise<[number, Record<string, Tensor>]> => {
    const values = Float64Array.from(toFloat64(original))
    values[at]! += amount
    const moved = fromNumbers(values, original.shape, precision)
    return [toFloat64(moved)[at]!, await executable.run({ ...feeds, [input]: moved })]
  }
  const [xHigh, high] = await shifted(h)
  const [xLow, low] = await shifted(-h)
  let sum = 0
  for (const [name, factor] of factors) {
    const [a, b] = [toFloat64(high[name]!), toFloat64(low[name]!)]
    for (let i = 0; i < factor.length; i++) sum += factor[i]! * (a[i]! - b[i]!)
  }
  return sum / (xHigh - xLow)
}

/** Tolerances that {@link expectGradient} needs to be told where they differ from its own. */
export interface Tolerances {
  /** Against finite differences; default 1e-6, which only float64 reaches, and 1e-5 with a reference. */
  readonly numeric?: number
  /** float32 graph against float64 graph; default 1e-5. */
  readonly float32?: number
}

/** Throws unless the gradients of a case are right. */
export async function expectGradient(
  operator: string,
  options: GradientCase,
  tolerances: Tolerances = {},
): Promise<void> {
  const errors = await gradientErrors(operator, options)
  const { numeric = options.reference ? 1e-5 : 1e-6, float32 = 1e-5 } = tolerances
  // Written so that NaN fails.
  if (!(errors.numeric <= numeric))
    throw new Error(`${operator}: gradient off by ${errors.numeric} from finite differences (allowed: ${numeric}).`)
  if (!(errors.float32 <= float32))
    throw new Error(`${operator}: float32 gradient off by ${errors.float32} from float64 (allowed: ${float32}).`)
}
