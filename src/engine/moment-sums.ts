/** Sums of outer products of patches, accumulated in float64 over any number of activations. */
import { fail, invariant } from '../core/index.ts'
import type { Evaluator, Executable } from '../graph/index.ts'
import { type DType, isFloat, Tensor, toFloat32 } from '../tensor/index.ts'
import {
  columnBlocks,
  gramOutput,
  outputLength,
  type PatchGeometry,
  patchModel,
  patchSize,
  sumOutput,
} from './patch-graph.ts'

/** Bytes of patches made at a time. */
const CHUNK_BYTES = 64 * 2 ** 20

/** Second moments of the rows that a weight is applied to. */
export interface Moments {
  /** Per group Σ x xᵀ over all rows, `[d, d]`, d = channels / group · ∏ kernel, ordered as in a Conv weight. */
  readonly gram: readonly Float64Array[]
  /** Per group the mean of x, `[d]`. */
  readonly mean: readonly Float64Array[]
  /** Rows seen: output positions of all samples. */
  readonly count: number
}

/** Sessions by geometry and element type, shared by layers of the same form. */
export class PatchSessions {
  readonly #evaluator: Evaluator
  readonly #loaded = new Map<string, Executable>()

  constructor(evaluator: Evaluator) {
    this.#evaluator = evaluator
  }

  async get(geometry: PatchGeometry, dtype: DType): Promise<Executable> {
    const key = JSON.stringify([geometry, dtype])
    let executable = this.#loaded.get(key)
    if (!executable) this.#loaded.set(key, (executable = await this.#evaluator.load(patchModel(geometry, dtype))))
    return executable
  }

  async release(): Promise<void> {
    for (const executable of this.#loaded.values()) await executable.release()
    this.#loaded.clear()
  }
}

/** The running sums of one layer. */
export class MomentSums {
  readonly #geometry: PatchGeometry
  readonly #sessions: PatchSessions
  /** Per group, columns ordered (kernel position, channel), upper blocks only. */
  readonly #gram: Float64Array[]
  readonly #sum: Float64Array[]
  readonly #size: number
  #count = 0

  constructor(geometry: PatchGeometry, sessions: PatchSessions) {
    this.#geometry = geometry
    this.#sessions = sessions
    this.#size = patchSize(geometry)
    this.#gram = Array.from({ length: geometry.group }, () => new Float64Array(this.#size * this.#size))
    this.#sum = Array.from({ length: geometry.group }, () => new Float64Array(this.#size))
  }

  /** Adds the rows of an activation: `[…, features]` of a linear layer, `[N, channels, spatial…]` of a convolution. */
  async add(activation: Tensor): Promise<void> {
    if (!isFloat(activation.dtype))
      fail('UNSUPPORTED', `Moments: the activations must be floating-point numbers; they are ${activation.dtype}.`)
    if (activation.size === 0) return
    const session = await this.#sessions.get(this.#geometry, activation.dtype)
    if (this.#geometry.kernel.length === 0) await this.#addLinear(session, activation)
    else await this.#addSpatial(session, activation)
  }

  async #addLinear(session: Executable, activation: Tensor): Promise<void> {
    const { channels } = this.#geometry
    const rows = activation.size / channels
    const step = Math.max(1, Math.floor(CHUNK_BYTES / (4 * channels)))
    for (let from = 0; from < rows; from += step) {
      const to = Math.min(rows, from + step)
      await this.#addChunk(session, { x: leading(activation.reshape([rows, channels]), from, to) }, to - from)
    }
  }

  async #addSpatial(session: Executable, activation: Tensor): Promise<void> {
    const geometry = this.#geometry
    const [samples = 0, , ...lengths] = activation.shape
    const out = lengths.map((length, axis) => outputLength(geometry, axis, length))
    if (out.some((length) => length < 1)) return
    // One output "row": all positions with the same first spatial index.
    const rowPositions = out.slice(1).reduce((product, length) => product * length, 1)
    const rowBytes = 4 * rowPositions * this.#size * geometry.group
    const linesPerChunk = Math.max(1, Math.floor(CHUNK_BYTES / rowBytes))
    const samplesPerChunk = Math.max(1, Math.floor(linesPerChunk / out[0]!))
    for (let from = 0; from < samples; from += samplesPerChunk) {
      const to = Math.min(samples, from + samplesPerChunk)
      const x = leading(activation, from, to)
      for (let line = 0; line < out[0]!; line += linesPerChunk) {
        const end = Math.min(out[0]!, line + linesPerChunk)
        const { strides } = geometry
        const window = Tensor.of(
          BigInt64Array.from(
            [
              ...out.map((_, axis) => (axis === 0 ? line * strides[0]! : 0)),
              ...out.map((length, axis) => ((axis === 0 ? end : length) - 1) * strides[axis]! + 1),
            ],
            BigInt,
          ),
          [2, out.length],
        )
        await this.#addChunk(session, { x, window }, (to - from) * (end - line) * rowPositions)
      }
    }
  }

  async #addChunk(session: Executable, feeds: Record<string, Tensor>, rows: number): Promise<void> {
    const results = await session.run(feeds)
    const size = this.#size
    if (this.#geometry.group > 1) {
      const gram = toFloat32(results[gramOutput(0, 0)]!)
      const sum = toFloat32(results[sumOutput(0)]!)
      for (const [group, target] of this.#gram.entries()) addTo(target, gram, group * size * size)
      for (const [group, target] of this.#sum.entries()) addTo(target, sum, group * size)
    } else {
      const blocks = columnBlocks(this.#geometry)
      for (const [i, rowBlock] of blocks.entries()) {
        addTo(
          this.#sum[0]!.subarray(rowBlock.start, rowBlock.start + rowBlock.width),
          toFloat32(results[sumOutput(i)]!),
          0,
        )
        for (const [j, columnBlock] of blocks.entries()) {
          if (j < i) continue
          const product = toFloat32(results[gramOutput(i, j)]!)
          for (let r = 0; r < rowBlock.width; r++) {
            const at = (rowBlock.start + r) * size + columnBlock.start
            addTo(this.#gram[0]!.subarray(at, at + columnBlock.width), product, r * columnBlock.width)
          }
        }
      }
    }
    this.#count += rows
  }

  /** The result; the sums are used up by it. */
  finish(): Moments {
    const size = this.#size
    const perGroup = this.#geometry.channels / this.#geometry.group
    const taps = size / perGroup
    // (kernel position, channel) → (channel, kernel position)
    const target = Int32Array.from({ length: size }, (_, at) => (at % perGroup) * taps + Math.floor(at / perGroup))
    const inOrder = taps === 1 || perGroup === 1
    const mean = this.#sum.map((sum) => {
      const out = new Float64Array(size)
      for (let at = 0; at < size; at++) out[target[at]!] = sum[at]! / this.#count
      return out
    })
    const gram: Float64Array[] = []
    for (let group = this.#gram.shift(); group; group = this.#gram.shift()) {
      // Blocks on the diagonal were computed whole, but rounded differently on both sides.
      for (let i = 0; i < size; i++) for (let j = 0; j < i; j++) group[i * size + j] = group[j * size + i]!
      gram.push(inOrder ? group : permuted(group, target))
    }
    invariant(gram.length === this.#geometry.group, 'moments were finished twice')
    return { gram, mean, count: this.#count }
  }
}

function addTo(target: Float64Array, source: Float32Array, offset: number): void {
  for (let i = 0; i < target.length; i++) target[i]! += source[offset + i]!
}

function permuted(matrix: Float64Array, target: Int32Array): Float64Array {
  const size = target.length
  const out = new Float64Array(matrix.length)
  for (let i = 0; i < size; i++) {
    const row = target[i]! * size
    for (let j = 0; j < size; j++) out[row + target[j]!] = matrix[i * size + j]!
  }
  return out
}

/** Samples `from … to` of the first axis, over the same memory. */
function leading(tensor: Tensor, from: number, to: number): Tensor {
  const [length = 1, ...rest] = tensor.shape
  if (from === 0 && to === length) return tensor
  const stride = tensor.byteLength / length
  return Tensor.fromBytes(tensor.dtype, [to - from, ...rest], tensor.bytes.subarray(from * stride, to * stride))
}
