/**
 * Values in several layouts while a graph is rewritten: as they were, blocked, or channels last. A layout that a reader
 * asks for is made once, from whatever there is.
 *
 * Blocked: `[N, C / b, H, W, b]` in memory under the shape `[N, C, H, W]`; b is 16 with AVX-512 and 8 without.
 */
import { Emitter, type Typed } from '../../autodiff/index.ts'
import { fail } from '../../core/index.ts'
import { type AttributeInput, type Graph, type Node, usedNames } from '../../graph/index.ts'
import { type StoredOrder, storedShape } from '../stored.ts'

/** Domain of ONNX Runtime's blocked operators. */
export const BLOCKED_DOMAIN = 'com.microsoft.nchwc'

/** What may still be fused into a node that makes a blocked value. */
export interface Fusion {
  /** A blocked value to be added. */
  readonly sum?: string | undefined
  readonly relu?: boolean | undefined
  /** Zero where the operand whose gradient it is, is not positive. */
  readonly masked?: boolean | undefined
}

/** A blocked value that is made when it is first read. */
export interface PendingValue {
  /** Whether something can be added in the same node. */
  readonly addsUp: boolean
  /** The operand whose gradient it is, where it can be masked by that at less than its own size. */
  readonly operand?: string | undefined
  /** Emits it. @returns its name. */
  emit(fusion: Fusion): string
}

/** A parameter that the graph has in another order. */
export interface StoredParameter {
  /** The input that it is. */
  readonly name: string
  readonly order: StoredOrder
  /** Its gradient in the same order. */
  readonly gradient: string
}

/** The graph that is being written, and the layouts that its values have so far. */
export class Layouts {
  readonly emit: Emitter
  readonly graph: Graph
  readonly block: number
  /** Results of convolutions without bias that may be less by a number per channel, and that number, `[C]`. */
  readonly shifts = new Map<string, string>()
  /** Means of what was made less by it, as it is. */
  readonly shiftedMeans = new Map<string, string>()
  /** Pictures in the basis of their products, by value. */
  readonly pictures = new Map<string, string>()
  readonly #plain = new Set<string>()
  readonly #blocked = new Map<string, string>()
  readonly #channelsLast = new Map<string, string>()
  readonly #pending = new Map<string, PendingValue>()
  readonly #uses = new Map<string, number>()
  readonly #stored = new Map<string, StoredParameter>()

  /** Takes the graph's nodes away; whoever walks them writes them back. */
  constructor(graph: Graph, types: ReadonlyMap<string, Typed>, block: number) {
    this.graph = graph
    this.block = block
    this.emit = new Emitter(graph, types)
    for (const { name } of graph.inputs) this.#plain.add(name)
    for (const name of graph.initializers.keys()) this.#plain.add(name)
    const used = [...graph.nodes.flatMap(usedNames), ...graph.outputs.map(({ name }) => name)]
    for (const name of used) this.#uses.set(name, (this.#uses.get(name) ?? 0) + 1)
  }

  /** How many nodes and outputs of the graph read a value. */
  uses(value: string): number {
    return this.#uses.get(value) ?? 0
  }

  /** Whether a value has pictures' axes and whole blocks of channels. */
  isBlockable(value: string): boolean {
    const type = this.emit.types.get(value)
    return type?.dtype === 'float32' && type.shape.length === 4 && type.shape[1]! % this.block === 0
  }

  /** Whether a value is blocked without a reordering. */
  isBlocked(value: string): boolean {
    return this.#blocked.has(value) || this.#pending.has(value)
  }

  /** Makes a parameter one that is stored in another order; nothing may have read it. */
  store(parameter: string, order: StoredOrder): void {
    const type = { dtype: this.emit.type(parameter).dtype, shape: storedShape(order) }
    const name = this.emit.declare(`stored/${parameter}`, type)
    const gradient = this.emit.declare(`stored/gradient/${parameter}`, type)
    this.#stored.set(parameter, { name, order, gradient })
    this.#plain.delete(parameter)
  }

  /** Parameters in another order. */
  get stored(): ReadonlyMap<string, StoredParameter> {
    return this.#stored
  }

  /** A parameter in the order that is given, whatever it is stored in. */
  inOrder(parameter: string, order: StoredOrder): string {
    const { emit } = this
    const stored = this.#stored.get(parameter)
    if (stored?.order.order.join() === order.order.join()) return stored.name
    return emit.transpose(emit.reshape(this.plain(parameter), order.parts), order.order)
  }

  /** Makes what was just emitted in the order that is given the gradient of a parameter. */
  giveInOrder(parameter: string, gradient: string, made: string, order: StoredOrder): void {
    const stored = this.#stored.get(parameter)
    if (stored?.order.order.join() === order.order.join()) {
      this.give(stored.gradient, made)
      return
    }
    const back = order.order.map((_, axis) => order.order.indexOf(axis))
    this.giveGradient(parameter, gradient, this.emit.transpose(this.emit.reshape(made, storedShape(order)), back))
  }

  /** Makes what was just emitted the gradient of a parameter. */
  giveGradient(parameter: string, gradient: string, made: string): void {
    const { emit } = this
    const stored = this.#stored.get(parameter)
    if (stored) {
      const { parts, order } = stored.order
      this.give(stored.gradient, emit.transpose(emit.reshape(made, parts), order))
    } else this.give(gradient, emit.reshape(made, emit.shape(gradient)))
  }

  pending(value: string): PendingValue | undefined {
    return this.#pending.get(value)
  }

  setPlain(value: string): void {
    this.#plain.add(value)
  }

  setBlocked(value: string, blocked: string): void {
    this.#blocked.set(value, blocked)
  }

  setPending(value: string, pending: PendingValue): void {
    this.#pending.set(value, pending)
  }

  /** Says that a value is never read: what reads it was fused with what makes it. */
  drop(value: string): void {
    this.#pending.delete(value)
  }

  /** The value as it was, under its own name. */
  plain(value: string): string {
    if (value === '' || this.#plain.has(value)) return value
    const stored = this.#stored.get(value)
    if (stored) {
      const back = stored.order.order.map((_, axis) => stored.order.order.indexOf(axis))
      const parted = this.emit.transpose(stored.name, back)
      this.give(
        value,
        this.emit.op('Reshape', [parted, this.emit.integers(this.emit.shape(value))], this.emit.shape(value)),
      )
      return value
    }
    const blocked = this.blocked(value)
    const channels = this.emit.shape(value)[1]!
    this.node('ReorderOutput', [blocked], value, { channels })
    return value
  }

  /** The value blocked. */
  blocked(value: string): string {
    const known = this.#blocked.get(value)
    if (known !== undefined) return known
    const pending = this.#pending.get(value)
    let blocked: string
    if (pending) {
      this.#pending.delete(value)
      blocked = pending.emit({})
    } else {
      if (!this.#plain.has(value)) fail('INTERNAL', `Internal: lowering reads '${value}' before it is made.`)
      blocked = this.emit.op(`${BLOCKED_DOMAIN}::ReorderInput`, [value], this.emit.shape(value))
    }
    this.#blocked.set(value, blocked)
    return blocked
  }

  /** The value as `[N, H, W, C]`. */
  channelsLast(value: string): string {
    const known = this.#channelsLast.get(value)
    if (known !== undefined) return known
    const { emit } = this
    const [batch, channels, height, width] = emit.shape(value) as [number, number, number, number]
    const shape = [batch, height, width, channels]
    let result: string
    if (!this.isBlocked(value)) result = emit.transpose(this.plain(value), [0, 2, 3, 1])
    else if (channels === this.block) result = emit.reshape(this.blocked(value), shape)
    else {
      const attributes = { channels, channels_last: 1 }
      result = emit.op(`${BLOCKED_DOMAIN}::ReorderOutput`, [this.blocked(value)], shape, attributes)
    }
    this.#channelsLast.set(value, result)
    return result
  }

  /** A blocked operator. */
  op(
    opType: string,
    inputs: readonly string[],
    shape: readonly number[],
    attributes: Readonly<Record<string, AttributeInput | undefined>> = {},
  ): string {
    return this.emit.op(`${BLOCKED_DOMAIN}::${opType}`, inputs, shape, attributes)
  }

  /** A blocked operator whose output is a value of the graph, in its own layout. */
  node(
    opType: string,
    inputs: readonly string[],
    value: string,
    attributes: Readonly<Record<string, AttributeInput | undefined>> = {},
  ): void {
    this.give(value, this.op(opType, inputs, this.emit.shape(value), attributes))
  }

  /** Makes what was just emitted the value itself. */
  give(value: string, made: string): void {
    const producer = this.graph.nodes.findLast((node) => node.outputs.includes(made))
    if (!producer) {
      this.graph.nodes.push(...identity(this.emit, made, value, this.graph))
    } else producer.outputs = producer.outputs.map((name) => (name === made ? value : name))
    this.#plain.add(value)
  }
}

/** A copy under another name, where what was made is no node's output. */
function identity(emit: Emitter, from: string, to: string, graph: Graph): Node[] {
  emit.op('Identity', [from], emit.shape(from))
  const node = graph.nodes.pop()!
  return [{ ...node, outputs: [to] }]
}
