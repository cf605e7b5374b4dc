/**
 * Weights in one layout for all operators: per group `[out, in, taps]`, taps being the flattened kernel, and back from
 * the factors of a stage to the layout its operator wants.
 */
import { fail } from '../../core/index.ts'
import { sumOfSquares } from '../../decompose/index.ts'
import { type DType, fromNumbers, type Tensor, toFloat32, toFloat64 } from '../../tensor/index.ts'
import type { Site } from '../sites.ts'
import type { Stage } from './stage.ts'

/** Real numbers of either precision. */
export type Reals = Float32Array | Float64Array

/** One group's weight: `data` is `[outputs, inputs, taps]`, row-major. */
export interface GroupKernel {
  readonly data: Reals
  readonly outputs: number
  readonly inputs: number
  readonly taps: number
}

/** Extent of the tiles that copies work in, so that what is read and what is written both stay in the cache. */
const TILE = 32

/** Copies `[a, b, c]` to `[b, a, c]`. */
export function swapLeading<T extends Reals>(data: T, a: number, b: number, c: number): T {
  const out = new (data.constructor as new (length: number) => T)(data.length)
  if (a === 1 || b === 1) {
    out.set(data)
    return out
  }
  if (c === 1) {
    transposeInto(out, data, a, b)
    return out
  }
  for (let i0 = 0; i0 < a; i0 += TILE) {
    const i1 = Math.min(a, i0 + TILE)
    for (let j0 = 0; j0 < b; j0 += TILE) {
      const j1 = Math.min(b, j0 + TILE)
      for (let j = j0; j < j1; j++) {
        let to = (j * a + i0) * c
        for (let i = i0; i < i1; i++) {
          const from = (i * b + j) * c
          for (let t = 0; t < c; t++) out[to++] = data[from + t]!
        }
      }
    }
  }
  return out
}

/** Copies `[a, b]` to `[b, a]`: four rows at a time, so that reads and writes both go along a few lines of the cache. */
function transposeInto(out: Reals, data: Reals, a: number, b: number): void {
  const whole = a - (a % 4)
  for (let i = 0; i < whole; i += 4) {
    let from = i * b
    let to = i
    for (let j = 0; j < b; j++) {
      out[to] = data[from]!
      out[to + 1] = data[from + b]!
      out[to + 2] = data[from + 2 * b]!
      out[to + 3] = data[from + 3 * b]!
      from++
      to += a
    }
  }
  for (let i = whole; i < a; i++) for (let j = 0; j < b; j++) out[j * a + i] = data[i * b + j]!
}

/**
 * The weight of a site, group by group, with ‖W‖² of each; views on the model's data where the layout allows it.
 *
 * @throws WhittleError `NOT_FINITE` when the weight holds NaN or infinity.
 */
export function groupKernels(site: Site): (GroupKernel & { readonly energy: number })[] {
  const all: Reals = site.weight.dtype === 'float64' ? toFloat64(site.weight) : toFloat32(site.weight)
  const inputs = site.inputs / site.group
  const outputs = site.outputs / site.group
  const size = all.length / site.group
  const taps = size / (inputs * outputs)
  return Array.from({ length: site.group }, (_, group) => {
    const part = all.subarray(group * size, (group + 1) * size) as Reals
    // A finite sum has finite terms; one that is not may have overflowed.
    const energy = sumOfSquares(part)
    if (!Number.isFinite(energy)) assertFinite(all, site)
    const data = site.weightIsOutputFirst ? part : swapLeading(part, inputs, outputs, taps)
    return { data, outputs, inputs, taps, energy }
  })
}

function assertFinite(values: Reals, site: Site): void {
  const at = values.findIndex((value: number) => !Number.isFinite(value))
  if (at >= 0)
    fail(
      'NOT_FINITE',
      `${site.op} '${site.name}': weights must be finite; '${site.weightName}' has ${values[at]} at element ${at}. ` +
        'Repair the weight, or leave the layer out with --skip.',
    )
}

/** The operator that runs a stage of a site. */
export function stageOperator(site: Site, stage: Stage): string {
  if (site.kind === 'convolution') return 'Conv'
  if (site.kind === 'transposed-convolution') return stage.carries.some((own) => own) ? 'ConvTranspose' : 'Conv'
  return site.op
}

/** Shape of a stage's weight in the layout its operator wants. */
export function stageShape(site: Site, stage: Stage): number[] {
  const { group } = site
  if (site.kind === 'linear')
    return isInputFirst(site, stage) ? [stage.inputs, stage.outputs] : [stage.outputs, stage.inputs]
  const kernel = site.kernel.map((extent, axis) => (stage.carries[axis] ? extent : 1))
  if (stage.depthwise) return [stage.outputs * group, 1, ...kernel]
  return stageOperator(site, stage) === 'ConvTranspose'
    ? [stage.inputs * group, stage.outputs, ...kernel]
    : [stage.outputs * group, stage.inputs, ...kernel]
}

/** Whether a stage's weight begins with its inputs; one of a depthwise stage, with one of either, reads both ways. */
function isInputFirst(site: Site, stage: Stage): boolean {
  if (site.kind !== 'linear') return !stage.depthwise && stageOperator(site, stage) === 'ConvTranspose'
  return stage.between ? stage.between.after === 1 : !site.weightIsOutputFirst
}

/**
 * A stage's weight as a tensor, from one `[out, in, taps]` array per group (`[out, 1, taps]` where it is depthwise).
 *
 * @param dtype the type of the original weight; 16-bit floats are rounded and clamped to finite values.
 */
export function stageTensor(site: Site, stage: Stage, groups: readonly Reals[], dtype: DType): Tensor {
  const shape = stageShape(site, stage)
  const inputFirst = isInputFirst(site, stage)
  const size = stage.inputs * stage.outputs
  const parts = groups.map((data) =>
    inputFirst ? swapLeading(data, stage.outputs, stage.inputs, data.length / size) : data,
  )
  if (parts.length === 1) return fromNumbers(parts[0]!, shape, dtype)
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const joined = dtype === 'float64' ? new Float64Array(length) : new Float32Array(length)
  let at = 0
  for (const part of parts) {
    joined.set(part, at)
    at += part.length
  }
  return fromNumbers(joined, shape, dtype)
}

/**
 * Splits flattened taps into the ones a stage carries and the rest: tap `t` is `(carried[t], rest[t])`, both row-major
 * over their own axes.
 */
export function splitTaps(
  kernel: readonly number[],
  carries: readonly boolean[],
): { carried: Int32Array; rest: Int32Array; carriedCount: number; restCount: number } {
  const taps = kernel.reduce((product, extent) => product * extent, 1)
  const carried = new Int32Array(taps)
  const rest = new Int32Array(taps)
  const index = kernel.map(() => 0)
  for (let tap = 0; tap < taps; tap++) {
    let own = 0
    let other = 0
    kernel.forEach((extent, axis) => {
      if (carries[axis]) own = own * extent + index[axis]!
      else other = other * extent + index[axis]!
    })
    carried[tap] = own
    rest[tap] = other
    for (let axis = kernel.length - 1; axis >= 0 && ++index[axis]! === kernel[axis]; axis--) index[axis] = 0
  }
  const carriedCount = kernel.reduce((product, extent, axis) => (carries[axis] ? product * extent : product), 1)
  return { carried, rest, carriedCount, restCount: taps / carriedCount }
}

/**
 * The matrix that a spatial split factors: rows (in, carried taps), columns (out, other taps).
 *
 * @returns `data` `[inputs · carriedCount, outputs · restCount]`.
 */
export function splitMatrix(
  kernel: GroupKernel,
  split: ReturnType<typeof splitTaps>,
): { rows: number; cols: number; data: Reals } {
  const { outputs, inputs, taps, data } = kernel
  const { carried, rest, carriedCount, restCount } = split
  const rows = inputs * carriedCount
  const cols = outputs * restCount
  const out = data instanceof Float64Array ? new Float64Array(rows * cols) : new Float32Array(rows * cols)
  // [o, i, (a, b)] → [(i, a), (o, b)], some inputs at a time: their rows are written to by every output.
  const offsets = Array.from({ length: taps }, (_, t) => carried[t]! * cols + rest[t]!)
  for (let i0 = 0; i0 < inputs; i0 += TILE) {
    const i1 = Math.min(inputs, i0 + TILE)
    for (let o = 0; o < outputs; o++) {
      let from = (o * inputs + i0) * taps
      for (let i = i0; i < i1; i++) {
        const to = i * carriedCount * cols + o * restCount
        for (let t = 0; t < taps; t++) out[to + offsets[t]!] = data[from++]!
      }
    }
  }
  return { rows, cols, data: out }
}
