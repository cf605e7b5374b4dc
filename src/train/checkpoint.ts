/**
 * Checkpoints: everything that a training needs to go on as if it had never stopped.
 *
 * Layout, little-endian: 8 bytes magic, uint32 length of the header, uint32 hash of everything after these 16 bytes, the
 * header as JSON, then the tensors of its table one after the other, each padded to 8 bytes.
 */
import { fail, type Json, messageOf } from '../core/index.ts'
import { byteLengthOf, DTYPES, type DType, sizeOf, Tensor } from '../tensor/index.ts'

/** Where checkpoints are kept. */
export interface CheckpointStore {
  /** What messages call it, e.g. a folder. */
  readonly where: string
  /** The last checkpoint that was written completely; `undefined` when there is none. */
  read(): Promise<Uint8Array | undefined>
  /** Replaces the checkpoint; when that fails or is interrupted at any moment, the previous one is still there. */
  write(chunks: readonly Uint8Array[]): Promise<void>
}

/** A point of a training. */
export interface Checkpoint {
  /** What the training is of: it goes on only with the same. */
  readonly identity: { readonly [key: string]: Json }
  readonly step: number
  /** Measurements and the like. */
  readonly progress: Json
  /** Weights, statistics, optimizer state, averages, and the best weights so far, by name. */
  readonly tensors: ReadonlyMap<string, Tensor>
}

const MAGIC = new TextEncoder().encode('WHTLTRN1')
const PREFIX_BYTES = 16
const ALIGNMENT = 8

const padded = (length: number): number => Math.ceil(length / ALIGNMENT) * ALIGNMENT

/** Four bytes at a time, after MurmurHash3 (Appleby, public domain): finds damage, not forgery. */
class DamageHash {
  #hash = 0x9747b28c

  add(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const whole = bytes.byteLength - (bytes.byteLength % 4)
    let hash = this.#hash
    for (let at = 0; at < whole; at += 4) hash = mix(hash, view.getUint32(at, true))
    for (let at = whole; at < bytes.byteLength; at++) hash = mix(hash, bytes[at]!)
    this.#hash = mix(hash, bytes.byteLength)
  }

  get value(): number {
    return this.#hash >>> 0
  }
}

function mix(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51)
  k = Math.imul((k << 15) | (k >>> 17), 0x1b873593)
  const h = hash ^ k
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0
}

type Entry = { readonly name: string; readonly dtype: DType; readonly shape: readonly number[] }

/** A checkpoint as pieces of bytes; tensors are not copied. */
export function encodeCheckpoint({ identity, step, progress, tensors }: Checkpoint): Uint8Array[] {
  const table = [...tensors].map(([name, { dtype, shape }]): Entry => ({ name, dtype, shape }))
  const header = new TextEncoder().encode(JSON.stringify({ identity, step, progress, tensors: table }))
  const chunks: Uint8Array[] = [header, new Uint8Array(padded(header.length) - header.length)]
  for (const { bytes } of tensors.values()) {
    chunks.push(bytes)
    const gap = padded(bytes.byteLength) - bytes.byteLength
    if (gap > 0) chunks.push(new Uint8Array(gap))
  }
  const hash = new DamageHash()
  for (const chunk of chunks) hash.add(chunk)
  const prefix = new Uint8Array(PREFIX_BYTES)
  prefix.set(MAGIC)
  const view = new DataView(prefix.buffer)
  view.setUint32(8, header.length, true)
  view.setUint32(12, hash.value, true)
  return [prefix, ...chunks]
}

function damaged(where: string, reason: string): never {
  return fail(
    'INVALID_FILE',
    `Checkpoint in ${where}: ${reason}. Delete it to begin anew, or take the folder of another run.`,
  )
}

/**
 * Reads a checkpoint. Tensors are views on its bytes.
 *
 * @throws WhittleError `INVALID_FILE` when it is none, cut off or damaged.
 */
export function decodeCheckpoint(bytes: Uint8Array, where: string): Checkpoint {
  if (bytes.byteLength < PREFIX_BYTES || !MAGIC.every((byte, at) => bytes[at] === byte))
    damaged(where, 'it must begin as a checkpoint of whittle; this is another kind of file')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const headerBytes = view.getUint32(8, true)
  if (PREFIX_BYTES + padded(headerBytes) > bytes.byteLength) damaged(where, 'it is cut off')
  const { identity, step, progress, tensors: table } = readHeader(bytes, headerBytes, where)
  const parts: [string, Tensor, number][] = []
  let at = PREFIX_BYTES + padded(headerBytes)
  const hash = new DamageHash()
  const add = (from: number, length: number): void => {
    hash.add(bytes.subarray(from, from + length))
    if (padded(length) > length || from === PREFIX_BYTES) hash.add(bytes.subarray(from + length, from + padded(length)))
  }
  add(PREFIX_BYTES, headerBytes)
  for (const { name, dtype, shape } of table) {
    const length = byteLengthOf(dtype, sizeOf(shape))
    if (at + padded(length) > bytes.byteLength) damaged(where, `it is cut off in '${name}'`)
    parts.push([name, Tensor.fromBytes(dtype, shape, bytes.subarray(at, at + length)), length])
    add(at, length)
    at += padded(length)
  }
  if (at !== bytes.byteLength) damaged(where, `${bytes.byteLength - at} bytes follow its end`)
  if (hash.value !== view.getUint32(12, true)) damaged(where, 'its bytes have changed since it was written')
  return { identity, step, progress, tensors: new Map(parts.map(([name, tensor]) => [name, tensor])) }
}

function readHeader(bytes: Uint8Array, length: number, where: string) {
  let header: unknown
  try {
    header = JSON.parse(new TextDecoder().decode(bytes.subarray(PREFIX_BYTES, PREFIX_BYTES + length)))
  } catch (error) {
    damaged(where, `its header is not readable (${messageOf(error)})`)
  }
  const { identity, step, progress, tensors } = (header ?? {}) as Record<string, unknown>
  const isShape = (value: unknown): value is number[] =>
    Array.isArray(value) && value.every((extent) => Number.isSafeInteger(extent) && extent >= 0)
  const isEntry = (value: unknown): value is Entry => {
    const { name, dtype, shape } = (value ?? {}) as Record<string, unknown>
    return typeof name === 'string' && dtype !== 'string' && Object.hasOwn(DTYPES, String(dtype)) && isShape(shape)
  }
  if (
    typeof identity !== 'object' ||
    identity === null ||
    !Number.isSafeInteger(step) ||
    !Array.isArray(tensors) ||
    !tensors.every(isEntry)
  )
    damaged(where, 'its header does not have the fields of a checkpoint')
  return {
    identity: identity as Checkpoint['identity'],
    step: step as number,
    progress: (progress ?? null) as Json,
    tensors: tensors as readonly Entry[],
  }
}

/**
 * Checks that a checkpoint is of this training.
 *
 * @throws WhittleError `PLAN_MISMATCH` naming what differs, with both values.
 */
export function checkIdentity(found: Checkpoint['identity'], wanted: Checkpoint['identity'], where: string): void {
  const differing = [...new Set([...Object.keys(found), ...Object.keys(wanted)])].filter(
    (key) => JSON.stringify(found[key]) !== JSON.stringify(wanted[key]),
  )
  if (differing.length === 0) return
  const show = (value: Json | undefined): string => {
    const text = JSON.stringify(value) ?? 'nothing'
    return text.length > 60 ? `${text.slice(0, 60)} …` : text
  }
  const key = differing[0]!
  fail(
    'PLAN_MISMATCH',
    `Checkpoint in ${where}: must be of this model and these options to be resumed; '${key}' was ${show(found[key])} and is ${show(wanted[key])}${differing.length > 1 ? ` (and ${differing.length - 1} more differ: ${differing.slice(1).join(', ')})` : ''}. Resume with what it was begun with, or take another folder.`,
    { details: { differing } },
  )
}
