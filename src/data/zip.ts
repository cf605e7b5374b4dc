/**
 * Reads zip archives by ranges: only the directory and the wanted members are touched. Members are stored or deflated;
 * Zip64 is understood, encryption is not.
 * Source: PKWARE, "APPNOTE.TXT – .ZIP File Format Specification", version 6.3.10, sections 4.3 and 4.5.3.
 */
import { fail } from '../core/index.ts'
import { type ByteSource, memorySource, readRange, sliceSource } from './byte-source.ts'
import { inflate } from './gzip.ts'

/** A file in an archive. */
export interface ZipMember {
  readonly name: string
  /** Bytes after unpacking. */
  readonly size: number
  /** The content: a range of the archive when it is stored, unpacked into memory and checked when it is deflated. */
  open(): Promise<ByteSource>
}

interface Entry {
  readonly name: string
  readonly flags: number
  readonly method: number
  readonly crc: number
  readonly packed: number
  readonly size: number
  readonly offset: number
}

const END_BYTES = 22
const MAX_COMMENT = 65535
const UNKNOWN = 0xffffffff

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

function uint64(view: DataView, offset: number, file: string): number {
  const value = Number(view.getBigUint64(offset, true))
  if (!Number.isSafeInteger(value)) fail('INVALID_FILE', `Zip file '${file}' is damaged: an offset of ${value} bytes.`)
  return value
}

/** Where the central directory is. */
async function findDirectory(file: ByteSource): Promise<{ offset: number; size: number }> {
  const length = Math.min(file.size, END_BYTES + MAX_COMMENT)
  const tail = await readRange(file, file.size - length, length)
  const view = viewOf(tail)
  let end = length - END_BYTES
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--
  if (end < 0)
    fail('INVALID_FILE', `'${file.name}' is no whole zip file: it has no end-of-directory record. It may be cut off.`)
  const size = view.getUint32(end + 12, true)
  const offset = view.getUint32(end + 16, true)
  const isZip64 = end >= 20 && view.getUint32(end - 20, true) === 0x07064b50
  if (!isZip64) return { offset, size }
  const record = viewOf(await readRange(file, uint64(view, end - 12, file.name), 56))
  if (record.getUint32(0, true) !== 0x06064b50)
    fail('INVALID_FILE', `Zip file '${file.name}' is damaged: its Zip64 record is not where it should be.`)
  return { offset: uint64(record, 48, file.name), size: uint64(record, 40, file.name) }
}

/** Values of the Zip64 extra field, in the order in which the 32-bit fields say "look there". */
function zip64Values(view: DataView, start: number, end: number, file: string): number[] {
  for (let at = start; at + 4 <= end; at += 4 + view.getUint16(at + 2, true)) {
    if (view.getUint16(at, true) !== 1) continue
    const length = Math.min(view.getUint16(at + 2, true), end - at - 4)
    return Array.from({ length: Math.floor(length / 8) }, (_, i) => uint64(view, at + 4 + 8 * i, file))
  }
  return []
}

function readEntries(directory: Uint8Array, file: string): Entry[] {
  const view = viewOf(directory)
  const entries: Entry[] = []
  for (let at = 0; at + 46 <= directory.length && view.getUint32(at, true) === 0x02014b50; ) {
    const nameEnd = at + 46 + view.getUint16(at + 28, true)
    const extraEnd = nameEnd + view.getUint16(at + 30, true)
    if (extraEnd > directory.length) fail('INVALID_FILE', `Zip file '${file}' is damaged: its directory is cut off.`)
    const large = zip64Values(view, nameEnd, extraEnd, file)
    const field = (offset: number): number => {
      const value = view.getUint32(at + offset, true)
      return value === UNKNOWN ? (large.shift() ?? value) : value
    }
    const size = field(24)
    const packed = field(20)
    const offset = field(42)
    entries.push({
      name: new TextDecoder().decode(directory.subarray(at + 46, nameEnd)),
      flags: view.getUint16(at + 8, true),
      method: view.getUint16(at + 10, true),
      crc: view.getUint32(at + 16, true),
      packed,
      size,
      offset,
    })
    at = extraEnd + view.getUint16(at + 32, true)
  }
  return entries
}

async function openEntry(file: ByteSource, entry: Entry): Promise<ByteSource> {
  const name = `${file.name}/${entry.name}`
  if (entry.flags & 1) fail('UNSUPPORTED', `'${name}' is encrypted; it cannot be read. Save it without a password.`)
  const header = viewOf(await readRange(file, entry.offset, 30))
  if (header.getUint32(0, true) !== 0x04034b50)
    fail('INVALID_FILE', `'${name}' is damaged: it does not begin where the directory of the archive says.`)
  const start = entry.offset + 30 + header.getUint16(26, true) + header.getUint16(28, true)
  if (start + entry.packed > file.size) fail('INVALID_FILE', `'${name}' is cut off: it ends beyond its archive.`)
  if (entry.method === 0 && entry.packed === entry.size) return sliceSource(file, name, start, entry.size)
  if (entry.method !== 8)
    fail('UNSUPPORTED', `'${name}' is packed by method ${entry.method}; only stored and deflated members can be read.`)
  return memorySource(name, inflate(name, await readRange(file, start, entry.packed), entry.size, entry.crc))
}

/**
 * Lists the members of a zip archive.
 *
 * @throws WhittleError `INVALID_FILE` when it is no zip file or damaged; from `open`, also `UNSUPPORTED` for encrypted
 *   members and other methods than stored and deflate.
 */
export async function openZip(file: ByteSource): Promise<ZipMember[]> {
  const { offset, size } = await findDirectory(file)
  const entries = readEntries(await readRange(file, offset, size), file.name)
  return entries.map((entry) => ({ name: entry.name, size: entry.size, open: () => openEntry(file, entry) }))
}
