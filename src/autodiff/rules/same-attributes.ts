/** Attributes of a forward node for a node of the same operator in the gradient. */
import { type AttributeInput, float, type Node } from '../../graph/index.ts'

/** The numbers, strings and lists of a node's attributes, but for those named. */
export function sameAttributes(node: Node, without: readonly string[] = []): Record<string, AttributeInput> {
  const values: Record<string, AttributeInput> = {}
  for (const [name, attribute] of node.attributes) {
    if (without.includes(name)) continue
    if (attribute.kind === 'int') values[name] = attribute.value
    else if (attribute.kind === 'float') values[name] = float(attribute.value)
    else if (attribute.kind === 'string') values[name] = new TextDecoder().decode(attribute.value)
    else if (attribute.kind === 'ints') values[name] = attribute.value.map(Number)
    else if (attribute.kind === 'floats') values[name] = attribute.value.map(float)
  }
  return values
}
