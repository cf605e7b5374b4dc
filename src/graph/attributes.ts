/** Reading and making attributes. Integers are int64 in ONNX; read as numbers they saturate at ±2⁵³. */
import { fail } from '../core/index.ts'
import { Tensor } from '../tensor/index.ts'
import type { Attribute, Graph, Node } from './model.ts'

function toNumber(value: bigint): number {
  return Math.min(Number.MAX_SAFE_INTEGER, Math.max(Number.MIN_SAFE_INTEGER, Number(value)))
}

function wrongKind(node: Node, name: string, expected: string, found: Attribute): never {
  return fail(
    'INVALID_MODEL',
    `${node.opType} '${node.name}': attribute '${name}' must be of type ${expected}; it is ${found.kind}.`,
  )
}

/** An integer attribute, or `fallback` when it is absent. */
export function intAttribute<F extends number | undefined>(node: Node, name: string, fallback: F): number | F {
  const found = node.attributes.get(name)
  if (!found) return fallback
  return found.kind === 'int' ? toNumber(found.value) : wrongKind(node, name, 'int', found)
}

/** A list-of-integers attribute, or `fallback` when it is absent. */
export function intsAttribute<F extends readonly number[] | undefined>(
  node: Node,
  name: string,
  fallback: F,
): number[] | F {
  const found = node.attributes.get(name)
  if (!found) return fallback
  return found.kind === 'ints' ? found.value.map(toNumber) : wrongKind(node, name, 'ints', found)
}

/** A float attribute, or `fallback` when it is absent. */
export function floatAttribute<F extends number | undefined>(node: Node, name: string, fallback: F): number | F {
  const found = node.attributes.get(name)
  if (!found) return fallback
  return found.kind === 'float' ? found.value : wrongKind(node, name, 'float', found)
}

/** A string attribute, or `fallback` when it is absent. */
export function stringAttribute<F extends string | undefined>(node: Node, name: string, fallback: F): string | F {
  const found = node.attributes.get(name)
  if (!found) return fallback
  return found.kind === 'string' ? new TextDecoder().decode(found.value) : wrongKind(node, name, 'string', found)
}

/** A tensor attribute, or `undefined`. */
export function tensorAttribute(node: Node, name: string): Tensor | undefined {
  const found = node.attributes.get(name)
  if (!found) return undefined
  return found.kind === 'tensor' ? found.value : wrongKind(node, name, 'tensor', found)
}

/** The subgraphs of a node (If, Loop, Scan …). */
export function subgraphsOf(node: Node): Graph[] {
  const graphs: Graph[] = []
  for (const attribute of node.attributes.values()) {
    if (attribute.kind === 'graph') graphs.push(attribute.value)
    else if (attribute.kind === 'graphs') graphs.push(...attribute.value)
  }
  return graphs
}

/** Marks a number as a float attribute; plain integers become int attributes. */
export class FloatValue {
  readonly value: number
  constructor(value: number) {
    this.value = value
  }
}

/** A float attribute's value for {@link makeAttributes}. */
export function float(value: number): FloatValue {
  return new FloatValue(value)
}

/** What {@link makeAttributes} takes: integers, `float(x)`, strings, lists of them, tensors, graphs. */
export type AttributeInput =
  | number
  | bigint
  | FloatValue
  | string
  | readonly number[]
  | readonly FloatValue[]
  | Tensor
  | Graph

/** An attribute from a plain value; a number must be an integer (write `float(0.1)` for floats). */
export function makeAttribute(value: AttributeInput): Attribute {
  if (typeof value === 'bigint') return { kind: 'int', value }
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value))
      fail('INVALID_ARGUMENT', `Attribute ${value}: write float(${value}) for a float attribute.`)
    return { kind: 'int', value: BigInt(value) }
  }
  if (value instanceof FloatValue) return { kind: 'float', value: Math.fround(value.value) }
  if (typeof value === 'string') return { kind: 'string', value: new TextEncoder().encode(value) }
  if (value instanceof Tensor) return { kind: 'tensor', value, name: '' }
  if (Array.isArray(value)) {
    if (value.length > 0 && value[0] instanceof FloatValue)
      return { kind: 'floats', value: (value as FloatValue[]).map((item) => Math.fround(item.value)) }
    return { kind: 'ints', value: (value as number[]).map((item) => BigInt(item)) }
  }
  return { kind: 'graph', value: value as Graph }
}

/** Attributes from plain values; `undefined` entries are left out. */
export function makeAttributes(values: Readonly<Record<string, AttributeInput | undefined>>): Map<string, Attribute> {
  const attributes = new Map<string, Attribute>()
  for (const [name, value] of Object.entries(values))
    if (value !== undefined) attributes.set(name, makeAttribute(value))
  return attributes
}
