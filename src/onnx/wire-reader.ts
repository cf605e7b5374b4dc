/**
 * Reads protobuf's wire format from bytes that nobody vouches for.
 *
 * Every length is compared with what is left before anything is allocated or skipped; nested messages are limited in
 * depth and number. What comes back as bytes are views on the file. Offsets are plain numbers: `| & <<` would wrap at
 * 2 GiB.
 * Source: protobuf encoding, https://protobuf.dev/programming-guides/encoding.
 */
import { fail } from '../core/index.ts'
import type { Preserved } from '../graph/index.ts'
import type { MessageType } from './message-type.ts'

/** Messages inside messages; protobuf's own readers stop at 100 too, so deeper files are of no use to any runtime. */
const MAX_DEPTH = 100
/** Messages of one file that become objects: far beyond any real network, but a limit to the memory of empty ones. */
const MAX_MESSAGES = 5_000_000
/** Strings up to this many bytes are looked up among those read before; for longer ones that takes too long. */
const SHORT_STRING = 64
/** Entries of the table of strings read before, a power of two. */
const KNOWN_STRINGS = 8192
const SMALL_INTEGERS = Array.from({ length: 256 }, (_, value) => BigInt(value))
const GIB = 2 ** 30

const NO_BYTES = new Uint8Array(0)

/** A cursor over protobuf bytes. */
export class WireReader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  /** What the bytes are, for messages, e.g. `Model file 'a.onnx'`. */
  readonly #what: string
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  /** Names come again and again (a value's producer and users, operators, attributes): found again, they cost nothing. */
  readonly #known: string[] = new Array<string>(KNOWN_STRINGS).fill('')
  #position = 0
  /** End of the innermost message. */
  #end: number
  #depth = 0
  #messages = 0
  /** Wire type of the field that is being read. */
  #wire = 0
  // Low and high half of the last varint, as unsigned 32-bit numbers.
  #low = 0
  #high = 0

  constructor(bytes: Uint8Array, what: string) {
    // A plain Uint8Array: views on a Buffer would be Buffers.
    this.#bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#what = what
    this.#end = bytes.byteLength
  }

  /** Where the cursor stands. */
  get position(): number {
    return this.#position
  }

  /** Throws `INVALID_FILE` about the current place. */
  invalid(rule: string): never {
    return fail('INVALID_FILE', `${this.#what}, byte ${this.#position}: ${rule}`)
  }

  /** What the bytes are, for messages about their content. */
  get what(): string {
    return this.#what
  }

  /** Bytes that were passed, as a view. */
  slice(start: number, end: number): Uint8Array {
    return new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset + start, end - start)
  }

  /**
   * Reads the fields of the current message up to its end.
   *
   * @param visit is called at each field's value; it reads exactly that value and returns true, or returns false to
   * have the field kept as it is.
   * @returns the fields that were kept, in wire form; `undefined` when there are none.
   */
  fields<K extends string>(type: MessageType<K>, visit: (field: K) => boolean): Preserved | undefined {
    let kept: number[] | undefined
    const end = this.#end
    while (this.#position < end) {
      const start = this.#position
      this.#varint()
      const wire = this.#low & 7
      const number = (this.#low >>> 3) + this.#high * 0x20000000
      if (number === 0 || number > 0x1fffffff) this.invalid(`field numbers are 1 to 536870911; found ${number}.`)
      const field = type.byNumber[number]
      const value = this.#position
      if (field !== undefined && (wire === field.wire || (wire === 2 && field.packable))) {
        this.#wire = wire
        if (visit(field.name)) continue
        this.#position = value
      }
      this.#skip(wire, number, 0)
      if (kept === undefined) kept = [start, this.#position]
      else if (kept[kept.length - 1] === start) kept[kept.length - 1] = this.#position
      else kept.push(start, this.#position)
    }
    return kept === undefined ? undefined : this.#join(kept)
  }

  #join(spans: readonly number[]): Uint8Array {
    if (spans.length === 2) return this.slice(spans[0]!, spans[1]!)
    let length = 0
    for (let i = 0; i < spans.length; i += 2) length += spans[i + 1]! - spans[i]!
    const joined = new Uint8Array(length)
    let at = 0
    for (let i = 0; i < spans.length; i += 2) {
      joined.set(this.slice(spans[i]!, spans[i + 1]!), at)
      at += spans[i + 1]! - spans[i]!
    }
    return joined
  }

  /** Reads a nested message: `read` must consume it, as {@link fields} does. */
  message<T>(read: (reader: WireReader) => T): T {
    if (++this.#depth > MAX_DEPTH)
      this.invalid(
        `messages may be nested ${MAX_DEPTH} deep, as deep as protobuf's own readers go; here is one more. ` +
          'The file is damaged or made to overflow a reader.',
      )
    if (++this.#messages > MAX_MESSAGES)
      this.invalid(`a model may have ${MAX_MESSAGES} nodes, attributes and values in all; here is one more.`)
    const length = this.#length()
    const outer = this.#end
    this.#end = this.#position + length
    const result = read(this)
    this.#end = outer
    this.#depth--
    return result
  }

  /** Goes back to `position`, which must lie in the current message. */
  seek(position: number): void {
    this.#position = position
  }

  /** An int64 as a number; beyond ±2⁵³ it is not exact. */
  int64Number(): number {
    this.#varint()
    return (this.#high | 0) * 0x100000000 + this.#low
  }

  /** An int64. */
  int64(): bigint {
    this.#varint()
    if (this.#high === 0) return this.#low < 256 ? SMALL_INTEGERS[this.#low]! : BigInt(this.#low)
    return BigInt.asIntN(64, (BigInt(this.#high) << 32n) | BigInt(this.#low))
  }

  /** An int32 or an enum; more bits than 32 are cut off, as protobuf does. */
  int32(): number {
    this.#varint()
    return this.#low | 0
  }

  /** A float32. */
  float(): number {
    this.#need(4)
    const value = this.#view.getFloat32(this.#position, true)
    this.#position += 4
    return value
  }

  /** A length and that many bytes, as a view. */
  bytes(): Uint8Array {
    const length = this.#length()
    if (length === 0) return NO_BYTES
    const start = this.#position
    this.#position += length
    return this.slice(start, this.#position)
  }

  /** A UTF-8 string. */
  string(): string {
    const length = this.#length()
    if (length === 0) return ''
    const start = this.#position
    this.#position += length
    if (length <= SHORT_STRING) {
      const text = this.#shortString(start, length)
      if (text !== undefined) return text
    }
    try {
      return this.#decoder.decode(this.slice(start, this.#position))
    } catch {
      this.#position = start
      return this.invalid('names must be UTF-8 text; this one is not. The file is damaged or no ONNX model.')
    }
  }

  /** A short string of ASCII characters, from the table when it is there; `undefined` for other strings. */
  #shortString(start: number, length: number): string | undefined {
    const bytes = this.#bytes
    let hash = length
    for (let i = start; i < start + length; i++) {
      const code = bytes[i]!
      if (code >= 0x80) return undefined
      hash = Math.imul(hash ^ code, 0x01000193)
    }
    const slot = (hash ^ (hash >>> 15)) & (KNOWN_STRINGS - 1)
    const known = this.#known[slot]!
    if (known.length === length) {
      let i = 0
      while (i < length && known.charCodeAt(i) === bytes[start + i]) i++
      if (i === length) return known
    }
    const codes = new Array<number>(length)
    for (let i = 0; i < length; i++) codes[i] = bytes[start + i]!
    return (this.#known[slot] = String.fromCharCode.apply(null, codes))
  }

  /** Calls `read` for each value of a list field, packed or not. */
  each(read: () => void): void {
    if (this.#wire !== 2) {
      read()
      return
    }
    const length = this.#length()
    const outer = this.#end
    this.#end = this.#position + length
    while (this.#position < this.#end) read()
    this.#end = outer
  }

  /** Appends the values of a list of int64, packed or not. */
  int64sInto(list: bigint[]): void {
    this.each(() => list.push(this.int64()))
  }

  /** Appends the values of a list of floats, packed or not. */
  floatsInto(list: number[]): void {
    this.each(() => list.push(this.float()))
  }

  /** A field of fixed-width values as bytes: a packed run, or `width` bytes of one value. */
  fixed(width: number): Uint8Array {
    if (this.#wire === 2) return this.bytes()
    this.#need(width)
    this.#position += width
    return this.slice(this.#position - width, this.#position)
  }

  /** Passes over the value of the current field and returns the bytes its payload takes. */
  skipValue(): number {
    const start = this.#position
    if (this.#wire === 2) {
      const length = this.#length()
      this.#position += length
      return length
    }
    this.#skip(this.#wire, 0, 0)
    return this.#position - start
  }

  /** Passes over the varints of the current field, packed or not, and returns how many there are. */
  countVarints(): number {
    if (this.#wire !== 2) {
      this.#varint()
      return 1
    }
    const run = this.bytes()
    let count = 0
    for (let i = 0; i < run.length; i++) if (run[i]! < 0x80) count++
    return count
  }

  /** Writes the low 8 · `width` bits of each varint of the current field to `target` from `offset`; the new offset. */
  varintsInto(target: DataView, offset: number, width: number): number {
    let at = offset
    this.each(() => {
      this.#varint()
      if (at + width <= target.byteLength) {
        if (width === 1) target.setUint8(at, this.#low)
        else if (width === 2) target.setUint16(at, this.#low, true)
        else {
          target.setUint32(at, this.#low, true)
          if (width === 8) target.setUint32(at + 4, this.#high, true)
        }
      }
      at += width
    })
    return at
  }

  #need(count: number): void {
    if (count <= this.#end - this.#position) return
    const left = this.#end - this.#position
    if (this.#end === this.#bytes.byteLength)
      this.invalid(`the file ends too early: ${count} more bytes must follow, only ${left} do. Get the file again.`)
    this.invalid(`a value must fit into its message; it needs ${count} bytes and has ${left}. The file is damaged.`)
  }

  #length(): number {
    this.#varint()
    const length = this.#high * 0x100000000 + this.#low
    this.#need(length)
    return length
  }

  #varint(): void {
    if (this.#position < this.#end) {
      const first = this.#bytes[this.#position]!
      if (first < 0x80) {
        this.#position++
        this.#low = first
        this.#high = 0
        return
      }
    }
    let low = 0
    let high = 0
    for (let i = 0; i < 10; i++) {
      this.#need(1)
      const byte = this.#bytes[this.#position++]!
      const bits = byte & 0x7f
      if (i < 4) low |= bits << (7 * i)
      else if (i === 4) {
        low |= bits << 28
        high = bits >>> 4
      } else if (i < 9) high |= bits << (7 * i - 32)
      else high |= bits << 31
      if (byte < 0x80) {
        this.#low = low >>> 0
        this.#high = high >>> 0
        return
      }
    }
    this.invalid('an integer takes at most 10 bytes; this one goes on. The file is damaged or no ONNX model.')
  }

  #skip(wire: number, number: number, depth: number): void {
    switch (wire) {
      case 0:
        this.#varint()
        return
      case 1:
        this.#need(8)
        this.#position += 8
        return
      case 2: {
        const length = this.#length()
        this.#position += length
        return
      }
      case 3:
        // A group: fields up to the end mark of the same number.
        if (this.#depth + depth > MAX_DEPTH) this.invalid(`groups may be nested ${MAX_DEPTH} deep; here is one more.`)
        for (;;) {
          this.#need(1)
          this.#varint()
          const inner = this.#low & 7
          const innerNumber = (this.#low >>> 3) + this.#high * 0x20000000
          if (inner === 4) {
            if (innerNumber !== number)
              this.invalid(`group ${number} must end with its own number, not ${innerNumber}.`)
            return
          }
          this.#skip(inner, innerNumber, depth + 1)
        }
      case 5:
        this.#need(4)
        this.#position += 4
        return
      default:
        this.invalid(`wire types are 0, 1, 2, 3 and 5; found ${wire}. The file is damaged or no ONNX model.`)
    }
  }
}

/** How many bytes of a protobuf file every reader accepts; its lengths are signed 32-bit numbers. */
export const MAX_FILE_BYTES = 2 * GIB - 1
