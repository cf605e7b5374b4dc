/** Bytes that are read by ranges: a file in Node, a Blob in a browser, memory anywhere. */
import { fail } from '../core/index.ts'

/** A run of bytes. */
export interface ByteRange {
  readonly offset: number
  readonly length: number
}

/** Something with bytes in it. */
export interface ByteSource {
  /** For messages, e.g. the file's name. */
  readonly name: string
  /** Bytes in all. */
  readonly size: number
  /** Reads ranges, each within `size`; one result per range, of exactly its length, not to be written to. */
  read(ranges: readonly ByteRange[]): Promise<Uint8Array[]>
}

/** Bytes in memory as a source; ranges are views. */
export function memorySource(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    size: bytes.length,
    read: async (ranges) => ranges.map(({ offset, length }) => bytes.subarray(offset, offset + length)),
  }
}

/** A part of a source as a source of its own. The part must lie within the whole. */
export function sliceSource(whole: ByteSource, name: string, offset: number, size: number): ByteSource {
  return {
    name,
    size,
    read: (ranges) => whole.read(ranges.map((range) => ({ offset: offset + range.offset, length: range.length }))),
  }
}

/**
 * Reads one range.
 *
 * @throws WhittleError `INVALID_FILE` when the range ends beyond the source.
 */
export async function readRange(source: ByteSource, offset: number, length: number): Promise<Uint8Array> {
  if (!(offset >= 0 && length >= 0 && offset + length <= source.size))
    fail(
      'INVALID_FILE',
      `'${source.name}' is cut off: ${length} bytes at offset ${offset} are needed; it has ${source.size} bytes.`,
    )
  const [bytes] = await source.read([{ offset, length }])
  return bytes!
}

/**
 * Reads records of equal length, in the order of `indices`; neighbours are read at once.
 *
 * @param indices record numbers, each below (size − offset) / recordBytes.
 * @returns a fresh array of indices.length × recordBytes bytes.
 */
export async function readRecords(
  source: ByteSource,
  offset: number,
  recordBytes: number,
  indices: ArrayLike<number>,
): Promise<Uint8Array> {
  const ranges: ByteRange[] = []
  for (let start = 0; start < indices.length; ) {
    let end = start + 1
    while (end < indices.length && indices[end] === indices[end - 1]! + 1) end++
    ranges.push({ offset: offset + indices[start]! * recordBytes, length: (end - start) * recordBytes })
    start = end
  }
  const out = new Uint8Array(indices.length * recordBytes)
  let position = 0
  for (const bytes of await source.read(ranges)) {
    out.set(bytes, position)
    position += bytes.length
  }
  return out
}
