/** The IR as plain values that `toEqual` compares: tensors keep their data in private fields, which it would ignore. */
import { Tensor } from '../../src/tensor/index.ts'

/** A copy of any part of the IR with maps as entries and bytes and tensors spelt out. */
export function plain(value: unknown): unknown {
  if (value instanceof Tensor)
    return {
      dtype: value.dtype,
      shape: value.shape,
      data:
        value.dtype === 'string'
          ? value.strings.map((text) => Buffer.from(text).toString('base64'))
          : Buffer.from(value.bytes).toString('base64'),
    }
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64')
  if (value instanceof Map) return [...value].map(([key, item]) => [key, plain(item)])
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]))
  return value
}
