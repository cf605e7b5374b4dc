/**
 * Writes protobuf's wire format from the last byte to the first.
 *
 * Backwards, the length of a nested message is known when its tag is due, so one pass suffices. Small values go into
 * blocks of our own; large byte arrays (weights) are not copied but become chunks of the result themselves.
 * Source: protobuf encoding, https://protobuf.dev/programming-guides/encoding.
 */
import type { Field } from './message-type.ts'

/** Byte arrays from this size on are passed through instead of copied. */
const CHUNK_BYTES = 16 * 1024
const BLOCK_BYTES = 256 * 1024

/** A writer that fills from the back. Write fields in reverse order of how they shall appear. */
export class WireWriter {
  /** Finished pieces, last piece of the file first. */
  readonly #chunks: Uint8Array[] = []
  #block = new Uint8Array(4096)
  #view = new DataView(this.#block.buffer)
  /** Everything from here to {@link #blockEnd} of the block is written. */
  #start = this.#block.length
  #blockEnd = this.#block.length
  #flushed = 0
  readonly #encoder = new TextEncoder()

  /** Bytes written so far; also the mark that {@link close} needs. */
  get byteLength(): number {
    return this.#flushed + (this.#blockEnd - this.#start)
  }

  /** The whole as a list of pieces, first piece first. The writer is of no use afterwards. */
  finish(): Uint8Array[] {
    this.#flush()
    return this.#chunks.reverse()
  }

  #flush(): void {
    if (this.#start === this.#blockEnd) return
    this.#chunks.push(this.#block.subarray(this.#start, this.#blockEnd))
    this.#flushed += this.#blockEnd - this.#start
    this.#blockEnd = this.#start
  }

  #reserve(count: number): void {
    if (this.#start >= count) return
    this.#flush()
    this.#block = new Uint8Array(Math.max(BLOCK_BYTES, count))
    this.#view = new DataView(this.#block.buffer)
    this.#start = this.#blockEnd = this.#block.length
  }

  /** Bytes as they are, without tag. */
  raw(bytes: Uint8Array): void {
    if (bytes.length >= CHUNK_BYTES) {
      this.#flush()
      this.#chunks.push(bytes)
      this.#flushed += bytes.length
      return
    }
    this.#reserve(bytes.length)
    this.#start -= bytes.length
    this.#block.set(bytes, this.#start)
  }

  /** A bytes field. */
  bytes(field: Field, value: Uint8Array): void {
    this.raw(value)
    this.#unsigned(value.length)
    this.#tag(field, 2)
  }

  /** A string field. */
  string(field: Field, value: string): void {
    const { length } = value
    // Names are ASCII nearly always: written straight into the block.
    if (length < 1024) {
      this.#reserve(length)
      const block = this.#block
      const start = this.#start - length
      let i = 0
      for (; i < length; i++) {
        const code = value.charCodeAt(i)
        if (code >= 0x80) break
        block[start + i] = code
      }
      if (i === length) {
        this.#start = start
        this.#unsigned(length)
        this.#tag(field, 2)
        return
      }
    }
    this.bytes(field, this.#encoder.encode(value))
  }

  /** A string field that is left out when it is empty. */
  optionalString(field: Field, value: string): void {
    if (value !== '') this.string(field, value)
  }

  /** An int32, int64 or enum field; numbers must be integers. */
  integer(field: Field, value: number | bigint): void {
    this.#signed(value)
    this.#tag(field, 0)
  }

  /** A packed list of integers; nothing when it is empty. */
  integers(field: Field, values: readonly (number | bigint)[]): void {
    if (values.length === 0) return
    const mark = this.byteLength
    for (let i = values.length - 1; i >= 0; i--) this.#signed(values[i]!)
    this.close(field, mark)
  }

  #float32(value: number): void {
    this.#reserve(4)
    this.#start -= 4
    this.#view.setFloat32(this.#start, value, true)
  }

  /** A float field. */
  float(field: Field, value: number): void {
    this.#float32(value)
    this.#tag(field, 5)
  }

  /** A packed list of floats; nothing when it is empty. */
  floats(field: Field, values: readonly number[]): void {
    if (values.length === 0) return
    const mark = this.byteLength
    for (let i = values.length - 1; i >= 0; i--) this.#float32(values[i]!)
    this.close(field, mark)
  }

  /** Ends (that is, begins) a nested message whose content was written since `mark` was taken. */
  close(field: Field, mark: number): void {
    this.#unsigned(this.byteLength - mark)
    this.#tag(field, 2)
  }

  #tag(field: Field, wire: number): void {
    this.#unsigned(field.number * 8 + wire)
  }

  /** A varint of a non-negative number up to 2⁵³. */
  #unsigned(value: number): void {
    this.#reserve(10)
    if (value < 0x80) {
      this.#block[--this.#start] = value
      return
    }
    let count = 1
    for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) count++
    this.#start -= count
    let rest = value
    for (let i = 0; i < count; i++) {
      this.#block[this.#start + i] = (rest % 0x80) + (i < count - 1 ? 0x80 : 0)
      rest = Math.floor(rest / 0x80)
    }
  }

  #signed(value: number | bigint): void {
    const small = Number(value)
    if (small >= 0 && small <= Number.MAX_SAFE_INTEGER) {
      this.#unsigned(small)
      return
    }
    // Two's complement of 64 bits.
    this.#reserve(10)
    let rest = BigInt.asUintN(64, BigInt(value))
    let count = 1
    for (let bits = rest >> 7n; bits > 0n; bits >>= 7n) count++
    this.#start -= count
    for (let i = 0; i < count; i++) {
      this.#block[this.#start + i] = Number(rest & 0x7fn) | (i < count - 1 ? 0x80 : 0)
      rest >>= 7n
    }
  }
}

/** The pieces as one array. */
export function joinChunks(chunks: readonly Uint8Array[], byteLength: number): Uint8Array {
  const joined = new Uint8Array(byteLength)
  let at = 0
  for (const chunk of chunks) {
    joined.set(chunk, at)
    at += chunk.length
  }
  return joined
}
