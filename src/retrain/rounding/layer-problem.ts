/** A layer's rounding as one lattice problem per group, from sampled rows. */
import type { MatrixEngine } from '../../decompose/index.ts'
import type { LinearMap } from './linear-map.ts'
import type { QuadraticProblem } from './quadratic.ts'
import { groupColumns, type LayerRows } from './rows.ts'
import type { WeightGrid } from './weight-grid.ts'

/** The problems of a layer's groups, and how large its outputs are. */
export interface LayerProblem {
  readonly groups: readonly QuadraticProblem[]
  /** Mean square of a row of outputs, without bias, summed over channels. */
  readonly power: number
  /** The same of what the weight itself leaves, because its input is quantized. */
  readonly floor: number
}

/**
 * Second moments of the rows, and what each output lacks.
 *
 * @param bias of the layer in the quantized network, `[outputs]`.
 */
export async function layerProblem(
  engine: MatrixEngine,
  map: LinearMap,
  grid: WeightGrid,
  rows: LayerRows,
  bias: Float32Array,
): Promise<LayerProblem> {
  const { count } = rows
  const { group, groupOutputs, rowLength } = map
  const groups: QuadraticProblem[] = []
  let power = 0
  let floor = 0
  for (let g = 0; g < group; g++) {
    const x = { rows: count, cols: rowLength, data: groupColumns(rows.inputs, count, g, group) }
    const y = groupColumns(rows.outputs, count, g, group)
    const part = (all: Float64Array): Float64Array =>
      all.subarray(g * groupOutputs * rowLength, (g + 1) * groupOutputs * rowLength)
    const weight = part(grid.weight)
    const product = await engine.multiply(
      x,
      { rows: groupOutputs, cols: rowLength, data: Float32Array.from(weight) },
      { transposeB: true },
    )
    const lack = product.data
    for (let n = 0, i = 0; n < count; n++)
      for (let o = 0; o < groupOutputs; o++, i++) {
        const wanted = y[i]! - bias[g * groupOutputs + o]!
        power += wanted ** 2
        lack[i]! -= wanted
        floor += lack[i]! ** 2
      }
    const gram = await engine.gram(x, { transpose: true })
    const shift = await engine.multiply(product, x, { transposeA: true })
    groups.push({
      outputs: groupOutputs,
      length: rowLength,
      grid: { weight, step: part(grid.step), least: part(grid.least), most: part(grid.most) },
      second: gram.data.map((value) => value / count),
      shift: Float64Array.from(shift.data, (value) => value / count),
    })
  }
  return { groups, power: power / count, floor: floor / count }
}
