/**
 * Gzip and CRC-32, over fflate's inflate. Sizes are checked before anything is allocated: DEFLATE cannot expand by more
 * than 1032 : 1, so a file that claims more is refused.
 * Source: RFC 1951, RFC 1952.
 */
import { gunzipSync, inflateSync } from 'fflate'
import { fail, messageOf } from '../core/index.ts'

/** The most bytes DEFLATE can make of one byte (258 bytes from 2 bits). */
const MAX_EXPANSION = 1032

let table: Uint32Array | undefined

/** The CRC-32 of bytes (polynomial 0xEDB88320), as gzip, zip and png use it. */
export function crc32(bytes: Uint8Array): number {
  if (!table) {
    table = new Uint32Array(256)
    for (let i = 0; i < 256; i++) {
      let value = i
      for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1
      table[i] = value
    }
  }
  let crc = 0xffffffff
  for (let i = 0; i < bytes.length; i++) crc = (crc >>> 8) ^ table[(crc ^ bytes[i]!) & 255]!
  return (crc ^ 0xffffffff) >>> 0
}

/** Whether bytes begin with the gzip magic number. */
export function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b
}

function checkExpansion(name: string, from: number, to: number): void {
  if (to > from * MAX_EXPANSION)
    fail('INVALID_FILE', `'${name}' is damaged: ${from} compressed bytes cannot hold the ${to} bytes they claim.`)
}

function checkContent(name: string, bytes: Uint8Array, size: number, crc: number): void {
  if (bytes.length !== size || crc32(bytes) !== crc)
    fail('INVALID_FILE', `'${name}' is damaged: its checksum or length does not fit its content.`)
}

/**
 * Unpacks a gzip file of one member and checks its checksum.
 *
 * @throws WhittleError `INVALID_FILE` when it is cut off or damaged.
 */
export function gunzip(name: string, packed: Uint8Array): Uint8Array {
  if (!isGzip(packed) || packed.length < 18) fail('INVALID_FILE', `'${name}' is cut off: not a whole gzip file.`)
  const tail = new DataView(packed.buffer, packed.byteOffset + packed.length - 8, 8)
  const size = tail.getUint32(4, true)
  checkExpansion(name, packed.length, size)
  const bytes = damagedUnless(name, () => gunzipSync(packed))
  checkContent(name, bytes, size, tail.getUint32(0, true))
  return bytes
}

/**
 * Unpacks raw DEFLATE data of known size and checksum.
 *
 * @throws WhittleError `INVALID_FILE` when they do not fit.
 */
export function inflate(name: string, packed: Uint8Array, size: number, crc: number): Uint8Array {
  checkExpansion(name, packed.length, size)
  // One byte more than claimed: fflate drops what does not fit, and data that are too long must not pass.
  const bytes = damagedUnless(name, () => inflateSync(packed, { out: new Uint8Array(size + 1) }))
  checkContent(name, bytes, size, crc)
  return bytes
}

function damagedUnless(name: string, unpack: () => Uint8Array): Uint8Array {
  try {
    return unpack()
  } catch (error) {
    return fail('INVALID_FILE', `'${name}' is damaged: it cannot be unpacked (${messageOf(error)}).`, { cause: error })
  }
}
