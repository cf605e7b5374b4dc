/**
 * Writes the IR as ONNX. Fields come in the order of their numbers, preserved ones last; weights of any size are
 * passed on, not copied. The writer works from the back, so everything here is in reverse.
 * Source: onnx.proto3 (onnx v1.22.0).
 */
import type { Attribute, FunctionDefinition, Graph, Model, Node, ValueInfo, ValueType } from '../graph/index.ts'
import { DTYPES, type Tensor } from '../tensor/index.ts'
import type { Field } from './message-type.ts'
import {
  AttributeProto,
  FunctionProto,
  GraphProto,
  ModelProto,
  NodeProto,
  OperatorSetIdProto,
  StringStringEntryProto,
  TensorProto,
  TensorShapeProto,
  TensorShapeProtoDimension,
  TypeProto,
  TypeProtoTensor,
  ValueInfoProto,
} from './schema.generated.ts'
import type { WireWriter } from './wire-writer.ts'

/** Where external tensors were put; tensors that are not in it are written inside the model. */
export type ExternalPlacement = ReadonlyMap<Tensor, { readonly location: string; readonly offset: number }>

const NONE: ExternalPlacement = new Map()

function reversed<T>(list: readonly T[], write: (item: T) => void): void {
  for (let i = list.length - 1; i >= 0; i--) write(list[i]!)
}

function writeEntry(writer: WireWriter, field: Field, key: string, value: string): void {
  const mark = writer.byteLength
  const { fields } = StringStringEntryProto
  writer.string(fields.value, value)
  writer.string(fields.key, key)
  writer.close(field, mark)
}

/** Writes a TensorProto's content. */
export function writeTensor(
  writer: WireWriter,
  name: string,
  tensor: Tensor,
  notes: Uint8Array | undefined,
  external: ExternalPlacement,
): void {
  const { fields } = TensorProto
  if (notes) writer.raw(notes)
  const place = external.get(tensor)
  if (place) {
    writer.integer(fields.data_location, 1)
    writeEntry(writer, fields.external_data, 'length', String(tensor.byteLength))
    writeEntry(writer, fields.external_data, 'offset', String(place.offset))
    writeEntry(writer, fields.external_data, 'location', place.location)
  } else if (tensor.dtype !== 'string') writer.bytes(fields.raw_data, tensor.bytes)
  writer.optionalString(fields.name, name)
  if (tensor.dtype === 'string') reversed(tensor.strings, (value) => writer.bytes(fields.string_data, value))
  writer.integer(fields.data_type, DTYPES[tensor.dtype].code)
  writer.integers(fields.dims, tensor.shape)
}

function writeType(writer: WireWriter, field: Field, type: ValueType): void {
  if (type.encoded) {
    writer.bytes(field, type.encoded)
    return
  }
  if (type.kind !== 'tensor') return
  const outer = writer.byteLength
  if (type.shape) {
    reversed(type.shape, (dimension) => {
      const mark = writer.byteLength
      const { dim_value, dim_param } = TensorShapeProtoDimension.fields
      if (typeof dimension === 'number') writer.integer(dim_value, dimension)
      else if (dimension !== null) writer.string(dim_param, dimension)
      writer.close(TensorShapeProto.fields.dim, mark)
    })
    writer.close(TypeProtoTensor.fields.shape, outer)
  }
  if (type.dtype) writer.integer(TypeProtoTensor.fields.elem_type, DTYPES[type.dtype].code)
  writer.close(TypeProto.fields.tensor_type, outer)
  writer.close(field, outer)
}

function writeValueInfo(writer: WireWriter, field: Field, info: ValueInfo): void {
  const mark = writer.byteLength
  const { fields } = ValueInfoProto
  if (info.preserved) writer.raw(info.preserved)
  if (info.type) writeType(writer, fields.type, info.type)
  writer.optionalString(fields.name, info.name)
  writer.close(field, mark)
}

const ATTRIBUTE_TYPES = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
  graphs: 10,
} as const

function writeAttribute(
  writer: WireWriter,
  field: Field,
  name: string,
  attribute: Attribute,
  external: ExternalPlacement,
): void {
  if (attribute.kind === 'other') {
    writer.bytes(field, attribute.encoded)
    return
  }
  const mark = writer.byteLength
  const { fields } = AttributeProto
  if (attribute.preserved) writer.raw(attribute.preserved)
  if (attribute.kind === 'ref') {
    writer.string(fields.ref_attr_name, attribute.value)
    if (attribute.type !== 0) writer.integer(fields.type, attribute.type)
  } else {
    writer.integer(fields.type, ATTRIBUTE_TYPES[attribute.kind])
    writeAttributeValue(writer, attribute, external)
  }
  writer.optionalString(fields.name, name)
  writer.close(field, mark)
}

/** Values are written even when they are 0: readers of the proto2 form ask whether the field is there. */
function writeAttributeValue(
  writer: WireWriter,
  attribute: Exclude<Attribute, { kind: 'ref' | 'other' }>,
  external: ExternalPlacement,
): void {
  const { fields } = AttributeProto
  const mark = writer.byteLength
  switch (attribute.kind) {
    case 'float':
      writer.float(fields.f, attribute.value)
      break
    case 'int':
      writer.integer(fields.i, attribute.value)
      break
    case 'string':
      writer.bytes(fields.s, attribute.value)
      break
    case 'tensor':
      writeTensor(writer, attribute.name, attribute.value, attribute.notes, NONE)
      writer.close(fields.t, mark)
      break
    case 'graph':
      writeGraph(writer, fields.g, attribute.value, external)
      break
    case 'floats':
      writer.floats(fields.floats, attribute.value)
      break
    case 'ints':
      writer.integers(fields.ints, attribute.value)
      break
    case 'strings':
      reversed(attribute.value, (value) => writer.bytes(fields.strings, value))
      break
    case 'graphs':
      reversed(attribute.value, (value) => writeGraph(writer, fields.graphs, value, external))
  }
}

function writeAttributes(
  writer: WireWriter,
  field: Field,
  attributes: ReadonlyMap<string, Attribute>,
  external: ExternalPlacement,
): void {
  reversed([...attributes], ([name, attribute]) => writeAttribute(writer, field, name, attribute, external))
}

function writeNode(writer: WireWriter, field: Field, node: Node, external: ExternalPlacement): void {
  const mark = writer.byteLength
  const { fields } = NodeProto
  if (node.preserved) writer.raw(node.preserved)
  writer.optionalString(fields.overload, node.overload)
  writer.optionalString(fields.domain, node.domain)
  if (node.attributes.size > 0) writeAttributes(writer, fields.attribute, node.attributes, external)
  writer.string(fields.op_type, node.opType)
  writer.optionalString(fields.name, node.name)
  reversed(node.outputs, (name) => writer.string(fields.output, name))
  reversed(node.inputs, (name) => writer.string(fields.input, name))
  writer.close(field, mark)
}

function writeGraph(writer: WireWriter, field: Field, graph: Graph, external: ExternalPlacement): void {
  const outer = writer.byteLength
  const { fields } = GraphProto
  if (graph.preserved) writer.raw(graph.preserved)
  reversed([...graph.sparseInitializers.values()], (encoded) => writer.bytes(fields.sparse_initializer, encoded))
  reversed([...graph.valueInfos.values()], (info) => writeValueInfo(writer, fields.value_info, info))
  reversed(graph.outputs, (info) => writeValueInfo(writer, fields.output, info))
  reversed(graph.inputs, (info) => writeValueInfo(writer, fields.input, info))
  reversed([...graph.initializers], ([name, tensor]) => {
    const mark = writer.byteLength
    writeTensor(writer, name, tensor, graph.initializerNotes.get(name), external)
    writer.close(fields.initializer, mark)
  })
  writer.optionalString(fields.name, graph.name)
  reversed(graph.nodes, (node) => writeNode(writer, fields.node, node, external))
  writer.close(field, outer)
}

function writeOpsets(writer: WireWriter, field: Field, opsets: ReadonlyMap<string, number>): void {
  reversed([...opsets], ([domain, version]) => {
    const mark = writer.byteLength
    const { fields } = OperatorSetIdProto
    writer.integer(fields.version, version)
    // Written even when empty, as ONNX's own tools do.
    writer.string(fields.domain, domain)
    writer.close(field, mark)
  })
}

function writeFunction(writer: WireWriter, definition: FunctionDefinition, external: ExternalPlacement): void {
  const mark = writer.byteLength
  const { fields } = FunctionProto
  if (definition.preserved) writer.raw(definition.preserved)
  writer.optionalString(fields.overload, definition.overload)
  writeAttributes(writer, fields.attribute_proto, definition.attributeDefaults, external)
  writer.optionalString(fields.domain, definition.domain)
  writeOpsets(writer, fields.opset_import, definition.opsets)
  reversed(definition.nodes, (node) => writeNode(writer, fields.node, node, external))
  reversed(definition.attributes, (name) => writer.string(fields.attribute, name))
  reversed(definition.outputs, (name) => writer.string(fields.output, name))
  reversed(definition.inputs, (name) => writer.string(fields.input, name))
  writer.optionalString(fields.name, definition.name)
  writer.close(ModelProto.fields.functions, mark)
}

/** Writes a ModelProto. */
export function writeModel(writer: WireWriter, model: Model, external: ExternalPlacement = NONE): void {
  const { fields } = ModelProto
  if (model.preserved) writer.raw(model.preserved)
  reversed(model.functions, (definition) => writeFunction(writer, definition, external))
  reversed([...model.metadata], ([key, value]) => writeEntry(writer, fields.metadata_props, key, value))
  writeOpsets(writer, fields.opset_import, model.opsets)
  writeGraph(writer, fields.graph, model.graph, external)
  writer.optionalString(fields.producer_version, model.producerVersion)
  writer.optionalString(fields.producer_name, model.producerName)
  if (model.irVersion !== 0) writer.integer(fields.ir_version, model.irVersion)
}
