/**
 * Reads GraphProto and NodeProto.
 *
 * Fields that the IR does not model stay in `preserved` as they are. Where ONNX demands unique names and a file breaks
 * the rule, the later one counts (as in ONNX Runtime) unless that would lose something, which is an error.
 */
import { fail } from '../core/index.ts'
import { createGraph, type Graph, type Node } from '../graph/index.ts'
import { decodeAttribute } from './decode-attribute.ts'
import { decodeTensorProto, type Source } from './decode-tensor.ts'
import { decodeValueInfo } from './decode-type.ts'
import { printable } from './printable.ts'
import { GraphProto, NodeProto, SparseTensorProto, TensorProto } from './schema.generated.ts'
import type { WireReader } from './wire-reader.ts'

/** Reads a NodeProto; the reader stands in it. */
export function decodeNode(source: Source): Node {
  const { reader } = source
  const node: Node = {
    name: '',
    opType: '',
    domain: '',
    overload: '',
    inputs: [],
    outputs: [],
    attributes: new Map(),
  }
  const preserved = reader.fields(NodeProto, (field) => {
    switch (field) {
      case 'input':
        node.inputs.push(reader.string())
        return true
      case 'output':
        node.outputs.push(reader.string())
        return true
      case 'name':
        node.name = reader.string()
        return true
      case 'op_type':
        node.opType = reader.string()
        return true
      case 'domain':
        node.domain = standardDomain(reader.string())
        return true
      case 'overload':
        node.overload = reader.string()
        return true
      case 'attribute': {
        const { name, attribute } = reader.message(() => decodeAttribute(source, decodeGraph))
        if (node.attributes.has(name))
          fail(
            'INVALID_MODEL',
            `${reader.what}: ${printable(node.opType) || 'node'} '${printable(node.name)}': attributes must have different names; ` +
              `'${printable(name)}' is given twice.`,
          )
        node.attributes.set(name, attribute)
        return true
      }
      default:
        return false
    }
  })
  if (preserved) node.preserved = preserved
  if (node.opType === '')
    fail(
      'INVALID_MODEL',
      `${reader.what}: node '${printable(node.name || node.outputs.join(', '))}' does not name its operator.`,
    )
  return node
}

/** The standard operator set has two names; one suffices. */
export function standardDomain(domain: string): string {
  return domain === 'ai.onnx' ? '' : domain
}

/** The name of a sparse initializer, which is that of its values. */
function sparseName(reader: WireReader): string {
  let name = ''
  let isExternal = false
  reader.fields(SparseTensorProto, (field) => {
    if (field === 'dims') reader.skipValue()
    else
      reader.message(() =>
        reader.fields(TensorProto, (inner) => {
          if (inner === 'name' && field === 'values') name = reader.string()
          else if (inner === 'data_location') isExternal = reader.int32() === 1 || isExternal
          else reader.skipValue()
          return true
        }),
      )
    return true
  })
  if (isExternal)
    fail(
      'UNSUPPORTED',
      `${reader.what}: sparse initializer '${printable(name)}' keeps its data in another file, which is read for dense ones only. ` +
        'Save the model with its weights inside.',
    )
  return name
}

/** Reads a GraphProto; the reader stands in it. */
export function decodeGraph(source: Source): Graph {
  const { reader } = source
  const graph = createGraph('')
  const preserved = reader.fields(GraphProto, (field) => {
    switch (field) {
      case 'name':
        graph.name = reader.string()
        return true
      case 'node':
        graph.nodes.push(reader.message(() => decodeNode(source)))
        return true
      case 'initializer': {
        const { name, tensor, notes } = reader.message(() => decodeTensorProto(source, 'initializer'))
        if (!tensor) return false
        graph.initializers.set(name, tensor)
        if (notes) graph.initializerNotes.set(name, notes)
        else graph.initializerNotes.delete(name)
        return true
      }
      case 'sparse_initializer': {
        const { name, encoded } = reader.message(() => {
          const start = reader.position
          return { name: sparseName(reader), encoded: reader.slice(start, reader.position) }
        })
        if (name === '') return false
        graph.sparseInitializers.set(name, encoded)
        return true
      }
      case 'input':
        graph.inputs.push(reader.message(decodeValueInfo))
        return true
      case 'output':
        graph.outputs.push(reader.message(decodeValueInfo))
        return true
      case 'value_info': {
        const info = reader.message(decodeValueInfo)
        graph.valueInfos.set(info.name, info)
        return true
      }
      default:
        return false
    }
  })
  if (preserved) graph.preserved = preserved
  return graph
}
