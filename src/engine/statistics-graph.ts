/** Models whose outputs are what statistics need: inner values, and reductions where a value's range is all that is asked. */
import { cloneModel, createNode, type Model, NameGenerator, type TensorMap } from '../graph/index.ts'
import { type DType, sizeOf, type Tensor, toFloat32 } from '../tensor/index.ts'
import { brokenNumbersShowBehind } from './not-finite.ts'
import { cutToOutputs } from './outputs.ts'

/** A value to reduce. */
export interface ReducedValue {
  readonly dtype: DType
  readonly shape: readonly number[]
  /** No element can be below it; then it is taken for the smallest, and none is looked for. */
  readonly atLeast?: number | undefined
}

/** How {@link statisticsModel} reduces. */
export interface ReductionOptions {
  /** Whether the shapes of values are those of every run, but for the first axis; default false. */
  readonly fixedShapes?: boolean | undefined
  /** Whether every value is looked at for NaN; default false: only those that others do not show it of. */
  readonly everySum?: boolean | undefined
}

/** Names of outputs that tell a value's range. */
interface ReducedNames {
  /** The smallest elements, or their negatives; none: {@link ReducedValue.atLeast}. */
  readonly min: string | undefined
  readonly isNegated: boolean
  readonly max: string
  /** ONNX Runtime's ReduceMin, ReduceMax and poolings pass over NaN; sums and means do not. */
  readonly sum: string | undefined
  /** The number of elements; none: {@link elementsPer} times as many as `max` has. */
  readonly size: string | undefined
  readonly elementsPer: number
  readonly atLeast: number
}

/** What one run tells of a value; `min` is NaN when any element is. */
export type ReducedRange = { readonly min: number; readonly max: number; readonly count: number }

/** A model that returns some values whole and of others only the range. */
export interface StatisticsModel {
  readonly model: Model
  /** Reads a reduced value's range from a run's results. */
  rangeOf(results: TensorMap, name: string): ReducedRange
}

/**
 * Cuts a model to what some values need and adds reductions.
 *
 * Pictures are reduced by pooling: ONNX Runtime pools the blocked form that its convolutions give, where anything else
 * (ReduceMax, Neg, even Size) first has it put back in order. Calibration of ResNet-20, milliseconds per batch of 32: the
 * network alone 9.0; with the largest elements and, where there may be negative ones, the smallest 11.8; with the
 * smallest, sum and size of all 16.8.
 *
 * @param whole values to return as they are. @param reduced values to reduce.
 */
export function statisticsModel(
  model: Model,
  whole: readonly string[],
  reduced: ReadonlyMap<string, ReducedValue>,
  { fixedShapes = false, everySum = false }: ReductionOptions = {},
): StatisticsModel {
  const part = cloneModel(cutToOutputs(model, [...whole, ...reduced.keys()]))
  const { graph } = part
  const names = new NameGenerator(graph)
  const outputs = new Map<string, ReducedNames>()
  const shown = everySum ? new Set<string>() : brokenNumbersShowBehind(graph, new Set([...whole, ...reduced.keys()]))
  graph.outputs = graph.outputs.filter((output) => whole.includes(output.name))
  for (const [name, { dtype, shape, atLeast }] of reduced) {
    const add = (opType: string, from: string, attributes = {}): string => {
      const output = names.fresh(`${name}_${opType}`)
      graph.nodes.push(createNode(opType, [from], [output], attributes, names.fresh(`${name}_${opType}_node`)))
      return output
    }
    // Reductions over 16-bit floats have no kernel.
    const source = dtype === 'float32' ? name : add('Cast', name, { to: 1 })
    const isPicture = shape.length === 4 && shape.every((extent) => extent > 0)
    const reduce = (opType: string, from = source): string => add(opType, from, { keepdims: 0 })
    const most = (from: string): string => (isPicture ? add('GlobalMaxPool', from) : reduce('ReduceMax', from))
    const least = (): string => (isPicture ? most(add('Neg', source)) : reduce('ReduceMin'))
    const found: ReducedNames = {
      min: atLeast === undefined ? least() : undefined,
      isNegated: isPicture,
      max: most(source),
      sum: shown.has(name) ? undefined : isPicture ? add('GlobalAveragePool', source) : reduce('ReduceSum'),
      size: isPicture && fixedShapes ? undefined : add('Size', name),
      elementsPer: sizeOf(shape.slice(2)),
      atLeast: atLeast ?? Number.NaN,
    }
    outputs.set(name, found)
    for (const output of [found.min, found.max, found.sum, found.size])
      if (output !== undefined) graph.outputs.push({ name: output, type: undefined })
  }
  return { model: part, rangeOf: (results, name) => readRange(results, outputs.get(name)!) }
}

function readRange(results: TensorMap, names: ReducedNames): ReducedRange {
  const tensor = (name: string): Tensor => results[name]!
  const most = extremesOf(tensor(names.max))
  const count = names.size === undefined ? most.count * names.elementsPer : Number(tensor(names.size).data[0])
  if (count === 0) return { min: Number.POSITIVE_INFINITY, max: Number.NEGATIVE_INFINITY, count }
  const least = names.min === undefined ? undefined : extremesOf(tensor(names.min))
  const min = least === undefined ? names.atLeast : names.isNegated ? -least.max : least.min
  const broken = most.broken || least?.broken || (names.sum !== undefined && extremesOf(tensor(names.sum)).broken)
  return { min: broken ? Number.NaN : min, max: most.max, count }
}

/** Least, greatest and number of a result's elements, and whether one of them is NaN. */
function extremesOf(tensor: Tensor): ReducedRange & { readonly broken: boolean } {
  const values = toFloat32(tensor)
  let min = Number.POSITIVE_INFINITY
  let max = Number.NEGATIVE_INFINITY
  let broken = false
  for (let i = 0; i < values.length; i++) {
    const x = values[i]!
    if (x > max) max = x
    if (x < min) min = x
    if (Number.isNaN(x)) broken = true
  }
  return { min, max, count: values.length, broken }
}
