// The keyword-spotting network of MLPerf Tiny (DS-CNN, depthwise separable, trained, labelled data beside it) as an ONNX
// model: its variables are read from the TensorFlow SavedModel, the graph is written down here after Zhang et al.,
// "Hello Edge: Keyword Spotting on Microcontrollers", arXiv 1711.07128. Input [batch, 1, 49, 10].
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { float, GraphBuilder } from 'whittle-nn/graph'
import { Tensor, transposeTensor } from 'whittle-nn/tensor'

/** Reads a LEB128 number at `at`. */
function varint(bytes, at) {
  let value = 0
  for (let factor = 1; ; factor *= 128) {
    const byte = bytes[at++]
    value += (byte & 127) * factor
    if (byte < 128) return [value, at]
  }
}

/** Entries of one block of a sorted table (LevelDB's format): keys share prefixes. */
function* entries(bytes, offset, size) {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const end = offset + size - 4 - 4 * view.getUint32(offset + size - 4, true)
  let key = Buffer.alloc(0)
  for (let at = offset; at < end; ) {
    let [shared, own, length] = [0, 0, 0]
    ;[shared, at] = varint(bytes, at)
    ;[own, at] = varint(bytes, at)
    ;[length, at] = varint(bytes, at)
    key = Buffer.concat([key.subarray(0, shared), bytes.subarray(at, at + own)])
    yield [key.toString('latin1'), bytes.subarray(at + own, at + own + length)]
    at += own + length
  }
}

/** Fields of a protobuf message by number, the last one of each; repeated ones as a list under their number. */
function fields(bytes) {
  const found = new Map()
  for (let at = 0; at < bytes.length; ) {
    let [tag, value] = [0, 0]
    ;[tag, at] = varint(bytes, at)
    if ((tag & 7) === 0) [value, at] = varint(bytes, at)
    else if ((tag & 7) === 5) at += 4
    else {
      let length = 0
      ;[length, at] = varint(bytes, at)
      value = bytes.subarray(at, at + length)
      at += length
    }
    found.set(tag >> 3, [...(found.get(tag >> 3) ?? []), value])
  }
  return found
}

/** Float variables of a TensorFlow checkpoint, by name. */
function readVariables(folder) {
  const index = readFileSync(join(folder, 'variables.index'))
  const data = readFileSync(join(folder, 'variables.data-00000-of-00001'))
  let at = index.length - 48
  for (let skipped = 0; skipped < 2; skipped++) [, at] = varint(index, at)
  let [offset, size] = [0, 0]
  ;[offset, at] = varint(index, at)
  ;[size, at] = varint(index, at)
  const variables = new Map()
  for (const [, handle] of entries(index, offset, size)) {
    const [begin, after] = varint(handle, 0)
    const [length] = varint(handle, after)
    for (const [name, value] of entries(index, begin, length)) {
      const entry = fields(value)
      if (name === '' || entry.get(1)?.[0] !== 1) continue
      const shape = (entry.has(2) ? (fields(entry.get(2)[0]).get(2) ?? []) : []).map(
        (dim) => fields(dim).get(1)?.[0] ?? 0,
      )
      const from = entry.get(4)?.[0] ?? 0
      const bytes = Uint8Array.from(data.subarray(from, from + entry.get(5)[0]))
      variables.set(name, Tensor.of(new Float32Array(bytes.buffer), shape))
    }
  }
  return variables
}

/** The network, from the folder of shared models. */
export function dsCnn(shared) {
  const variables = readVariables(join(shared, 'models/tf/kws_ref_model_savedmodel/variables'))
  const read = (layer, name) => variables.get(`layer_with_weights-${layer}/${name}/.ATTRIBUTES/VARIABLE_VALUE`)
  const b = new GraphBuilder('ds-cnn')
  const constant = (layer, name, order) => {
    const tensor = read(layer, name)
    return b.constant(order ? transposeTensor(tensor, order) : tensor, `layer${layer}.${name}`)
  }
  // Keras' weights are [height, width, in, out], depthwise ones [height, width, channels, 1].
  const block = (x, layer, pads, strides, depthwise) => {
    const weight = depthwise
      ? constant(layer, 'depthwise_kernel', [2, 3, 0, 1])
      : constant(layer, 'kernel', [3, 2, 0, 1])
    const attributes = { pads, strides, group: depthwise ? 64 : 1 }
    const y = b.op('Conv', [x, weight, constant(layer, 'bias')], attributes, `conv${layer}`)
    const norm = ['gamma', 'beta', 'moving_mean', 'moving_variance'].map((name) => constant(layer + 1, name))
    return b.op('Relu', [b.op('BatchNormalization', [y, ...norm], { epsilon: float(1e-3) })])
  }
  let x = b.input('input', 'float32', ['batch', 1, 49, 10])
  x = block(x, 0, [4, 1, 5, 1], [2, 2], false)
  for (let layer = 2; layer < 18; layer += 4) {
    x = block(x, layer, [1, 1, 1, 1], [1, 1], true)
    x = block(x, layer + 2, [0, 0, 0, 0], [1, 1], false)
  }
  x = b.op('Flatten', [b.op('GlobalAveragePool', [x])])
  b.op('Gemm', [x, constant(18, 'kernel'), constant(18, 'bias')], {}, 'logits')
  b.output('logits', 'float32', ['batch', 12])
  return b.model()
}
