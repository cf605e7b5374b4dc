/**
 * Networks in 16-bit floats, with float32 islands: nodes that cannot work on float16, and nodes that read or produce
 * numbers beyond its range. Casts stand where the two meet; inputs and outputs of the network keep their types unless
 * told otherwise.
 *
 * Numbers of weights are rounded half to even. What is not zero does not become zero: divisors that keep a
 * normalisation away from 0/0 are often below float16's least number.
 */
import {
  capturedNames,
  cloneModel,
  createNode,
  GraphIndex,
  intAttribute,
  type Model,
  makeAttribute,
  NameGenerator,
  type Node,
  subgraphsOf,
  tensorAttribute,
  tensorType,
  type ValueInfo,
} from '../../../graph/index.ts'
import { DTYPES, type DType, numberToFloat16, Tensor, toFloat32 } from '../../../tensor/index.ts'
import type { Range } from '../scheme.ts'
import { halfRefusal, singleInputs, singleOutputs } from './float16-operators.ts'

/** Greatest finite float16. */
export const HALF_MOST = 65504
const LEAST_HALF = 2 ** -24

/** Element types of values by name, as observed. */
export type ValueTypes = ReadonlyMap<string, { readonly dtype: DType }>

/** A node that stays in float32, and why. */
export type Float16Island = { readonly node: string; readonly reason: string }

/** What {@link findFloat16Islands} goes by. */
export interface Float16IslandOptions {
  /** Ranges of inner values on data; without them only operators and constants tell. */
  readonly ranges?: ReadonlyMap<string, Range> | undefined
  /** Whether a node is wanted in float32 whatever it is. */
  readonly keep?: ((node: string) => boolean) | undefined
}

const beyond = ({ min, max }: Range): boolean => !(min >= -HALF_MOST && max <= HALF_MOST)

function rangeOfTensor(tensor: Tensor): Range {
  let min = 0
  let max = 0
  for (const value of toFloat32(tensor)) {
    if (!(value >= min)) min = value
    if (!(value <= max)) max = value
  }
  return { min, max }
}

/** Nodes that have to stay in float32 when the rest becomes float16. */
export function findFloat16Islands(
  model: Model,
  types: ValueTypes,
  options: Float16IslandOptions = {},
): Float16Island[] {
  const opset = model.opsets.get('') ?? 1
  const { initializers } = model.graph
  const tooLarge = new Map<string, string>()
  for (const [name, tensor] of initializers) {
    if (tensor.dtype !== 'float32') continue
    const range = rangeOfTensor(tensor)
    if (beyond(range)) tooLarge.set(name, describe(name, range, 'holds'))
  }
  for (const [name, range] of options.ranges ?? [])
    if (types.get(name)?.dtype === 'float32' && beyond(range)) tooLarge.set(name, describe(name, range, 'reaches'))
  const islands: Float16Island[] = []
  for (const node of model.graph.nodes) {
    const values = [...node.inputs, ...node.outputs]
    if (!values.some((name) => types.get(name)?.dtype === 'float32')) continue
    const single = new Set(singleInputs(node.opType).map((position) => node.inputs[position]))
    const large = values.find((name) => tooLarge.has(name) && !single.has(name))
    const reason =
      halfRefusal(node, opset) ??
      (large === undefined ? undefined : tooLarge.get(large)) ??
      (options.keep?.(node.name) ? 'It was asked for in float32.' : undefined)
    if (reason !== undefined) islands.push({ node: node.name, reason })
  }
  return islands
}

function describe(name: string, { min, max }: Range, verb: string): string {
  const extreme = Math.abs(min) > Math.abs(max) ? min : max
  return `'${name}' ${verb} ${Number(extreme.toPrecision(4))}, beyond float16's ±${HALF_MOST}.`
}

/** What {@link applyFloat16} is told. */
export interface Float16Options {
  /** Types of the model's values, by name. */
  readonly types: ValueTypes
  /** Names of the nodes that stay in float32. */
  readonly islands: ReadonlySet<string>
  /** Whether inputs and outputs of the network keep float32; default true. */
  readonly keepIo?: boolean | undefined
}

/** A clone of a model whose float32 values are float16, except those of islands. */
export function applyFloat16(model: Model, options: Float16Options): Model {
  return new HalfWriter(cloneModel(model), options).run()
}

type Precision = 'float16' | 'float32'

class HalfWriter {
  readonly #model: Model
  readonly #types: ValueTypes
  readonly #islands: ReadonlySet<string>
  readonly #keepIo: boolean
  readonly #index: GraphIndex
  readonly #names: NameGenerator
  readonly #nodes: Node[] = []
  /** Names of the variable values in each precision they exist in. */
  readonly #values = new Map<string, Partial<Record<Precision, string>>>()
  readonly #constants = new Map<string, { tensor: Tensor; wanted: Set<Precision>; half: string }>()

  constructor(model: Model, { types, islands, keepIo = true }: Float16Options) {
    this.#model = model
    this.#types = types
    this.#islands = islands
    this.#keepIo = keepIo
    this.#index = new GraphIndex(model.graph)
    this.#names = new NameGenerator(model.graph)
  }

  run(): Model {
    const { graph } = this.#model
    graph.inputs = graph.inputs.map((info) => this.#input(info))
    for (const [name, tensor] of graph.initializers)
      if (tensor.dtype === 'float32' && !this.#values.has(name) && !this.#index.isOutput(name))
        this.#constants.set(name, { tensor, wanted: new Set(), half: name })
    // An output that its producer delivers in the other precision gets its name from a cast.
    const outputs: Precision = this.#keepIo ? 'float32' : 'float16'
    for (const node of graph.nodes) this.#rewrite(node, outputs)
    graph.outputs = graph.outputs.map((info) => this.#output(info, outputs))
    graph.nodes = this.#nodes
    this.#writeConstants()
    for (const name of [...graph.valueInfos.keys()]) if (this.#isSingle(name)) graph.valueInfos.delete(name)
    return this.#model
  }

  #isSingle(name: string): boolean {
    return this.#types.get(name)?.dtype === 'float32'
  }

  #input(info: ValueInfo): ValueInfo {
    if (info.type?.kind !== 'tensor' || info.type.dtype !== 'float32') return info
    if (this.#keepIo || this.#model.graph.initializers.has(info.name) || this.#isCaptured(info.name)) {
      this.#values.set(info.name, { float32: info.name })
      return info
    }
    this.#values.set(info.name, { float16: info.name })
    return { ...info, type: tensorType('float16', info.type.shape) }
  }

  #output(info: ValueInfo, wanted: Precision): ValueInfo {
    if (!this.#values.has(info.name) || info.type?.kind !== 'tensor' || info.type.dtype !== 'float32') return info
    return wanted === 'float32' ? info : { ...info, type: tensorType('float16', info.type.shape) }
  }

  /** The name under which a node finds a value in a precision; adds a cast where there is none yet. */
  #read(name: string, precision: Precision): string {
    const constant = this.#constants.get(name)
    if (constant) {
      constant.wanted.add(precision)
      if (precision === 'float32') return name
      if (constant.half === name) constant.half = this.#names.fresh(`${name}_fp16`)
      return constant.half
    }
    const versions = this.#values.get(name)
    if (!versions) return name
    versions[precision] ??= this.#cast(
      versions.float32 ?? versions.float16!,
      this.#names.fresh(`${name}_${precision === 'float16' ? 'fp16' : 'fp32'}`),
      precision,
    )
    return versions[precision]
  }

  #cast(from: string, to: string, precision: Precision): string {
    this.#nodes.push(createNode('Cast', [from], [to], { to: DTYPES[precision].code }, this.#names.fresh(`${to}_Cast`)))
    return to
  }

  #rewrite(node: Node, outputPrecision: Precision): void {
    const isIsland = this.#islands.has(node.name)
    const precision: Precision = isIsland ? 'float32' : 'float16'
    const single = isIsland ? [] : singleInputs(node.opType)
    node.inputs = node.inputs.map((name, position) =>
      name === '' ? name : this.#read(name, single.includes(position) ? 'float32' : precision),
    )
    // Subgraphs see outer values by name and stay as they are, so these have to exist in float32 under their names.
    for (const graph of subgraphsOf(node)) for (const name of capturedNames(graph)) this.#keepName(name)
    if (!isIsland) this.#convertAttributes(node)
    this.#nodes.push(node)
    const casts: [string, string][] = []
    const fixed = isIsland ? [] : singleOutputs(node.opType)
    node.outputs = node.outputs.map((name, position) => {
      if (name === '' || !this.#isSingle(name)) return name
      const made: Precision = fixed.includes(position) ? 'float32' : precision
      const versions: Partial<Record<Precision, string>> = { [made]: name }
      this.#values.set(name, versions)
      if (!this.#mustKeepName(name, made, outputPrecision)) return name
      const other: Precision = made === 'float16' ? 'float32' : 'float16'
      const own = this.#names.fresh(`${name}_${made === 'float16' ? 'fp16' : 'fp32'}`)
      versions[made] = own
      versions[other] = name
      casts.push([own, name])
      return own
    })
    for (const [from, to] of casts) this.#cast(from, to, precision === 'float16' ? 'float32' : 'float16')
  }

  /** Whether a value's name has to belong to the other precision than its producer delivers. */
  #mustKeepName(name: string, made: Precision, outputPrecision: Precision): boolean {
    if (this.#index.isOutput(name)) return made !== outputPrecision
    return made === 'float16' && this.#isCaptured(name)
  }

  #isCaptured(name: string): boolean {
    return this.#index.users(name).some((user) => subgraphsOf(user).some((graph) => capturedNames(graph).has(name)))
  }

  #keepName(name: string): void {
    this.#constants.get(name)?.wanted.add('float32')
  }

  #convertAttributes(node: Node): void {
    if (node.domain !== '') return
    if (node.opType === 'Cast' && intAttribute(node, 'to', 0) === DTYPES.float32.code)
      node.attributes.set('to', makeAttribute(DTYPES.float16.code))
    if (node.opType !== 'Constant' && node.opType !== 'ConstantOfShape') return
    const value = tensorAttribute(node, 'value')
    if (value?.dtype === 'float32') node.attributes.set('value', makeAttribute(toHalf(value)))
    else if (!value && node.opType === 'ConstantOfShape')
      node.attributes.set('value', makeAttribute(Tensor.of(new Uint16Array(1), [1], 'float16')))
  }

  /** Weights keep their names where only float16 readers use them. */
  #writeConstants(): void {
    const { initializers, inputs } = this.#model.graph
    const renamed = new Map<string, string>()
    for (const [name, { tensor, wanted, half }] of this.#constants) {
      if (!wanted.has('float16')) continue
      if (wanted.has('float32') || inputs.some((input) => input.name === name)) initializers.set(half, toHalf(tensor))
      else {
        initializers.set(name, toHalf(tensor))
        renamed.set(half, name)
      }
    }
    for (const node of this.#nodes) node.inputs = node.inputs.map((name) => renamed.get(name) ?? name)
  }
}

/**
 * A float32 tensor in float16, rounded half to even; finite numbers stay finite and numbers other than zero stay so.
 */
export function toHalf(tensor: Tensor): Tensor {
  const values = toFloat32(tensor)
  const bits = new Uint16Array(values.length)
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!
    const magnitude = Math.abs(value)
    const kept =
      magnitude === 0 || Number.isNaN(value) || magnitude === Number.POSITIVE_INFINITY
        ? magnitude
        : Math.min(Math.max(magnitude, LEAST_HALF), HALF_MOST)
    bits[i] = numberToFloat16(value < 0 ? -kept : Object.is(value, -0) ? -0 : kept)
  }
  return Tensor.of(bits, tensor.shape, 'float16')
}
