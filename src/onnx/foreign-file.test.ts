import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { zipSync } from 'fflate'
import { describe, expect, it } from 'vitest'
import { oracleBytes } from '../../test/support/onnx-oracle.ts'
import { maybeShared } from '../../test/support/shared.ts'
import { decodeModel } from './index.ts'

const latin1 = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0))
const padded = (text: string): Uint8Array => latin1(text.padEnd(400, '\0'))
const zip = (name: string): Uint8Array => zipSync({ [name]: latin1('content') })

const TORCH = 'a PyTorch checkpoint. Export the network with torch.onnx.export.'
const TF = 'Convert it with tf2onnx.'

const FILES: readonly [string, Uint8Array, string][] = [
  ['net.pth', zip('archive/data.pkl'), TORCH],
  ['net.pt', zip('archive/byteorder'), TORCH],
  ['legacy.pth', padded('\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.'), TORCH],
  [
    'object.pkl',
    padded('\x80\x04\x95\x10\0\0\0'),
    'a Python pickle. If it is a PyTorch network: Export the network with torch.onnx.export.',
  ],
  ['data.npz', zip('x.npy'), 'a NumPy archive (.npz). Give the model file.'],
  ['model.keras', zip('metadata.json'), `a Keras model. ${TF}`],
  ['model.zip', zip('model.onnx'), 'a zip archive with an ONNX file. Unpack it first.'],
  [
    'files.zip',
    zip('readme.txt'),
    'a zip archive. Unpack it first; if it is a PyTorch checkpoint, export it with torch.onnx.export.',
  ],
  ['weights.h5', padded('\x89HDF\r\n\x1a\n'), `an HDF5 file (Keras weights). ${TF}`],
  ['net.tflite', padded('\x1c\0\0\0TFL3'), `a TensorFlow Lite model. ${TF}`],
  ['net.ort', padded('\x1c\0\0\0ORTM'), "a model in ONNX Runtime's own format. Use the ONNX file it was made of."],
  ['net.gguf', padded('GGUF\x03'), 'a GGUF file. Use the ONNX export of the network.'],
  [
    'net.safetensors',
    padded('\x40\0\0\0\0\0\0\0{"w":{"dtype":"F32"'),
    'a safetensors file. It holds weights only; export the network as ONNX.',
  ],
  ['x.npy', padded('\x93NUMPY\x01'), 'a NumPy array. Give the model file.'],
  ['net.onnx.gz', gzipSync('content'), 'a gzip archive. Unpack it first.'],
  ['net.tar', latin1(`${'net.onnx'.padEnd(257, '\0')}ustar`), 'a tar archive. Unpack it first.'],
  ['picture.png', padded('\x89PNG\r\n'), 'a PNG image. Give the model file.'],
  ['model.json', latin1('\n{"format": "layers-model"}'), 'a JSON file. Give the ONNX file.'],
  ['net.onnx', latin1('<!DOCTYPE html><html>'), 'a web page. The download probably failed; get the file again.'],
  ['net.onnx', latin1('  <html lang="en">'), 'a web page. The download probably failed; get the file again.'],
  ['net.xml', latin1('<?xml version="1.0"?><net/>'), 'an XML file. Give the ONNX file.'],
  [
    'net.onnx',
    latin1('version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n'),
    "a Git LFS pointer, not the file itself. Run 'git lfs pull'.",
  ],
  [
    'net.pbtxt',
    latin1('ir_version: 8\ngraph {\n}'),
    "an ONNX model in protobuf's text form. Convert it to the binary form with onnx.save.",
  ],
  ['notes.md', new TextEncoder().encode('Schöne Grüße\n'.repeat(500)), 'a text file. Give the ONNX file.'],
  // node { name: "x" op: "Placeholder" }
  ['graph.pb', latin1('\n\x10\n\x01x\x12\x0bPlaceholder'), `a TensorFlow graph (GraphDef). ${TF}`],
  // schema version 1, meta graph { graph_def: the graph above }
  [
    'saved_model.pb',
    latin1('\x08\x01\x12\x14\x12\x12\n\x10\n\x01x\x12\x0bPlaceholder'),
    `a TensorFlow SavedModel. ${TF}`,
  ],
  [
    'input_0.pb',
    oracleBytes('TensorProto', { dims: [2n], dataType: 1, rawData: new Uint8Array(8) }),
    'a single ONNX tensor. Give the model file.',
  ],
]

describe('Files that are no ONNX models', () => {
  it.each(FILES)('such as %s are called what they are (%#)', (name, bytes, found) => {
    expect(() => decodeModel(bytes, { name })).toThrow(
      expect.objectContaining({
        code: 'INVALID_FILE',
        message: `Model file '${name}': an ONNX model is expected; this is ${found}`,
      }),
    )
  })

  it('are recognised among the shared models', ({ skip }) => {
    const real: [string[], RegExp][] = [
      [['models', 'torch', 'cifar10_resnet', 'resnet20-12fca82f.th'], /PyTorch checkpoint/],
      [['models', 'tf', 'kws_ref_model_savedmodel', 'saved_model.pb'], /TensorFlow SavedModel/],
      [['models', 'README.md'], /text file/],
      [['models', 'tfjs', 'mnist_cnn_layers', 'model.json'], /JSON file/],
    ]
    for (const [path, message] of real) {
      const found = maybeShared(...path)
      if (!found) return skip()
      expect(() => decodeModel(readFileSync(found)), path.join('/')).toThrow(message)
    }
  })
})
