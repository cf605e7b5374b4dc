/**
 * Weights kept outside the model file: where they lie, and the port through which they are read.
 * Source: ONNX, docs/ExternalData.md and onnx.proto3 `TensorProto.external_data` (onnx v1.22.0).
 */
import { fail } from '../core/index.ts'
import { printable } from './printable.ts'
import { StringStringEntryProto } from './schema.generated.ts'
import type { WireReader } from './wire-reader.ts'

/** Reads parts of the files that lie beside a model; `node/` and `web/` implement it. */
export interface ExternalDataReader {
  /**
   * Reads `length` bytes from `offset`; called when a tensor's bytes are first asked for.
   *
   * Must refuse locations outside the model's folder (links included), and must compare `offset + length` with the
   * file before allocating: both come from the model file and may be anything up to 2⁵³.
   *
   * @param location path relative to the model's folder, `/` as separator, already checked to hold no `..`.
   */
  read(location: string, offset: number, length: number): Uint8Array
}

/** Where a tensor's bytes lie. */
export interface ExternalLocation {
  readonly location: string
  readonly offset: number
  /** `undefined` when the model does not say. */
  readonly length: number | undefined
}

/**
 * Refuses locations that could leave the model's folder: absolute paths, drive letters, backslashes, `..` segments,
 * control characters. Links are for the reader to find.
 *
 * @param what what names the location, for the message.
 * @throws WhittleError `INVALID_MODEL`.
 */
export function assertSafeLocation(location: string, what: string): void {
  const problem =
    location === ''
      ? 'it is empty'
      : location.startsWith('/')
        ? 'it is absolute'
        : location.includes('\\')
          ? 'it has a backslash'
          : location.includes(':')
            ? 'it has a colon (a drive or a URL)'
            : location.split('/').includes('..')
              ? "it has a '..'"
              : [...location].some((character) => character < ' ' || character === '\u007f')
                ? 'it has a control character'
                : undefined
  if (problem !== undefined)
    fail(
      'INVALID_MODEL',
      `${what}: the location of external data must be a file inside the model's folder; ` +
        `'${printable(location)}' is refused because ${problem}.`,
    )
}

/** Reads one key-value pair of a StringStringEntryProto and the fields of it that are something else. */
export function decodeEntry(reader: WireReader): { key: string; value: string; plain: boolean } {
  let key = ''
  let value = ''
  const kept = reader.fields(StringStringEntryProto, (field) => {
    if (field === 'key') key = reader.string()
    else value = reader.string()
    return true
  })
  return { key, value, plain: kept === undefined }
}

function parseCount(text: string, key: string, what: string): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(value))
    fail(
      'INVALID_MODEL',
      `${what}: the ${key} of external data must be a whole number of bytes; found '${printable(text)}'.`,
    )
  return value
}

/** Interprets the `external_data` entries of a tensor. @throws WhittleError `INVALID_MODEL`. */
export function parseExternalData(entries: ReadonlyMap<string, string>, what: string): ExternalLocation {
  const location = entries.get('location') ?? ''
  assertSafeLocation(location, what)
  const offset = entries.get('offset')
  const length = entries.get('length')
  return {
    location,
    offset: offset === undefined ? 0 : parseCount(offset, 'offset', what),
    length: length === undefined ? undefined : parseCount(length, 'length', what),
  }
}
