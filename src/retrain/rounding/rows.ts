/** Rows of a layer's input and output, sampled at the same positions from what two networks make of the same data. */
import { createRandom, fail, type Random } from '../../core/index.ts'
import { sizeOf, type Tensor, toFloat32 } from '../../tensor/index.ts'
import type { LinearMap } from './linear-map.ts'

/** Sampled rows. */
export interface LayerRows {
  readonly count: number
  /** What the layer reads in the quantized network: `[count, channels · taps]`, groups one after the other. */
  readonly inputs: Float32Array
  /** What it puts out in the original one: `[count, outputs]`. */
  readonly outputs: Float32Array
}

/** Collects rows of one layer batch by batch; two collectors of one seed take the same positions. */
export class RowCollector {
  readonly #map: LinearMap
  readonly #side: 'input' | 'output'
  readonly #layer: string
  readonly #perSample: number
  readonly #random: Random
  readonly #parts: Float32Array[] = []

  /** @param perSample rows of one sample at most. */
  constructor(map: LinearMap, side: 'input' | 'output', perSample: number, seed: number, layer: string) {
    this.#map = map
    this.#side = side
    this.#layer = layer
    this.#perSample = Math.min(perSample, map.positions)
    this.#random = createRandom(seed)
  }

  /** Takes rows of one batch. @throws WhittleError `SHAPE_MISMATCH` when samples are not of the observed size. */
  add(tensor: Tensor): void {
    const { channels, inputPositions, positions, group, groupOutputs } = this.#map
    const samples = tensor.shape[0]!
    const expected = this.#side === 'input' ? channels * inputPositions : group * groupOutputs * positions
    if (sizeOf(tensor.shape) !== samples * expected)
      fail(
        'SHAPE_MISMATCH',
        `Layer '${this.#layer}': samples must all have one size; its ${this.#side} has ${expected} elements in one and [${tensor.shape.join(', ')}] in a batch.`,
      )
    this.#parts.push(
      this.#side === 'input' ? this.#patches(toFloat32(tensor), samples) : this.#points(toFloat32(tensor), samples),
    )
  }

  #patches(x: Float32Array, samples: number): Float32Array {
    const { channels, taps, inputPositions, inputsAt, channelsLast } = this.#map
    const width = channels * taps
    const from = new Int32Array(taps)
    const rows = new Float32Array(samples * this.#perSample * width)
    // Index of channel c at position p: c · channelStride + p · positionStride.
    const [channelStride, positionStride] = channelsLast ? [1, channels] : [inputPositions, 1]
    let row = 0
    for (let n = 0; n < samples; n++)
      for (const position of this.#positions()) {
        inputsAt(position, from)
        for (let t = 0; t < taps; t++) {
          if (from[t]! < 0) continue
          let at = n * channels * inputPositions + from[t]! * positionStride
          for (let c = 0, to = row * width + t; c < channels; c++, to += taps, at += channelStride) rows[to] = x[at]!
        }
        row++
      }
    return rows
  }

  #points(y: Float32Array, samples: number): Float32Array {
    const { group, groupOutputs, positions, channelsLast } = this.#map
    const outputs = group * groupOutputs
    const rows = new Float32Array(samples * this.#perSample * outputs)
    const [channelStride, positionStride] = channelsLast ? [1, outputs] : [positions, 1]
    let to = 0
    for (let n = 0; n < samples; n++)
      for (const position of this.#positions()) {
        let at = n * outputs * positions + position * positionStride
        for (let o = 0; o < outputs; o++, at += channelStride) rows[to++] = y[at]!
      }
    return rows
  }

  /** Positions of the next sample: all of them, or random ones. */
  #positions(): Iterable<number> {
    const { positions } = this.#map
    if (this.#perSample === positions) return Array(positions).keys()
    return Array.from({ length: this.#perSample }, () => this.#random.integer(positions))
  }

  /** All rows, one after the other. */
  finish(): Float32Array {
    if (this.#parts.length === 1) return this.#parts[0]!
    const whole = new Float32Array(this.#parts.reduce((sum, part) => sum + part.length, 0))
    let at = 0
    for (const part of this.#parts) {
      whole.set(part, at)
      at += part.length
    }
    return whole
  }
}

/** Columns of one group: `[count, length]`. */
export function groupColumns(rows: Float32Array, count: number, group: number, groups: number): Float32Array {
  if (groups === 1) return rows
  const width = rows.length / count
  const length = width / groups
  const out = new Float32Array(count * length)
  for (let n = 0; n < count; n++)
    out.set(rows.subarray(n * width + group * length, n * width + (group + 1) * length), n * length)
  return out
}
