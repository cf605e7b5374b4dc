/**
 * Tensors to and from the runtime's, the only place that knows the differences: 16-bit floats come back as
 * `Float16Array` where that global exists and as `Uint16Array` elsewhere, and strings are UTF-16 there, UTF-8 here.
 */
import { fail } from '../core/index.ts'
import { type DType, Tensor } from '../tensor/index.ts'
import type { OrtElementType, OrtRuntime, OrtTensor } from './ort.ts'

const ELEMENT_TYPES: ReadonlySet<string> = new Set<OrtElementType>([
  'float32',
  'float64',
  'float16',
  'int64',
  'uint64',
  'int32',
  'uint32',
  'int16',
  'uint16',
  'int8',
  'uint8',
  'bool',
  'int4',
  'uint4',
  'string',
])

/** The element type of ONNX Runtime's name for it; `undefined` for what its JavaScript API cannot pass. */
export function maybeEngineDType(type: string | undefined): DType | undefined {
  return type !== undefined && ELEMENT_TYPES.has(type) ? (type as DType) : undefined
}

/**
 * A tensor of the runtime over the same memory; only strings and unaligned data are copied.
 *
 * @param name of the value it is for, used in errors.
 * @throws WhittleError `UNSUPPORTED` for types the JavaScript API cannot pass (bfloat16, float8, complex …).
 */
export function toOrtTensor(runtime: OrtRuntime, tensor: Tensor, name: string): OrtTensor {
  const { dtype, shape } = tensor
  if (!ELEMENT_TYPES.has(dtype))
    fail(
      'UNSUPPORTED',
      `Value '${name}': ONNX Runtime's JavaScript API takes no ${dtype} tensors. Add a Cast to the model so that its inputs and outputs are of another type.`,
    )
  const data: unknown =
    dtype === 'string' ? tensor.strings.map((bytes) => new TextDecoder().decode(bytes)) : tensor.data
  return new runtime.Tensor(dtype as never, data as never, [...shape])
}

/** A tensor of ours over the elements of one of the runtime's, which is of no use afterwards. */
export async function fromOrtTensor(value: OrtTensor, name: string): Promise<Tensor> {
  const dtype = maybeEngineDType(value.type)
  if (!dtype)
    fail('UNSUPPORTED', `Value '${name}': only tensors can be read from ONNX Runtime; this one is ${value.type}.`)
  const shape = value.dims.map(Number)
  const data = await value.getData(true)
  if (dtype === 'string') return Tensor.ofStrings(data as string[], shape)
  const view = data as ArrayBufferView
  return Tensor.fromBytes(dtype, shape, new Uint8Array(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength))
}
