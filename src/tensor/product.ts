/**
 * The matrix product under every operation of tensor algebra: blocked, accumulated in float64, over operands in place.
 *
 * Blocks of both operands are packed into float64 panels, four rows and four columns at a time, so that the innermost
 * loop (WebAssembly) keeps sixteen sums in registers and reads memory in order, whatever the strides and types. Row indices
 * may be split in two: a mode in the middle of a tensor is multiplied without permuting the tensor first.
 *
 * Source of the scheme: Goto, van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), 2008.
 */
import { COLUMNS, DEPTH, PANEL, panelKernel, ROWS } from './panel-kernel.ts'
import type { Reals } from './reals.ts'

/** Where rows lie: row ρ at `⌊ρ / inner⌋ · outerStride + (ρ mod inner) · innerStride`. */
export interface Rows {
  readonly inner: number
  readonly innerStride: number
  readonly outerStride: number
}

/** A matrix inside an array. */
export interface Block {
  readonly data: Reals
  /** Of the first element, default 0. */
  readonly offset?: number
  readonly rows: Rows
  readonly columnStride: number
}

/** Rows that lie one after the other, `stride` apart. */
export function evenRows(stride: number): Rows {
  return { inner: Number.POSITIVE_INFINITY, innerStride: stride, outerStride: 0 }
}

/** A row-major matrix with `columns` columns. @internal */
export function rowMajor(data: Reals, columns: number, offset = 0): Block {
  return { data, offset, rows: evenRows(columns), columnStride: 1 }
}

/** The transpose of a row-major matrix with `columns` columns. @internal */
export function columnMajor(data: Reals, columns: number, offset = 0): Block {
  return { data, offset, rows: evenRows(1), columnStride: columns }
}

/**
 * c = a @ b, or c += a @ b.
 *
 * @param a `[m, k]`. @param b `[k, n]`. @param c `[m, n]`, written to; must not overlap a or b.
 * @param add adds to what c holds, default false. Sums that span several calls are rounded to the type of c in between.
 * @internal
 */
export function multiplyInto(
  c: Block,
  a: Block,
  b: Block,
  [m, k, n]: readonly [m: number, k: number, n: number],
  add = false,
): void {
  const width = Math.min(COLUMNS, roundUp(n))
  const { left, right, sums, multiply } = panelKernel()
  for (let j0 = 0; j0 < n; j0 += COLUMNS) {
    const columns = Math.min(COLUMNS, n - j0)
    for (let i0 = 0; i0 < m; i0 += ROWS) {
      const rows = Math.min(ROWS, m - i0)
      sums.fill(0, 0, roundUp(rows) * width)
      for (let p0 = 0; p0 < k; p0 += DEPTH) {
        const depth = Math.min(DEPTH, k - p0)
        packRows(a, i0, rows, p0, depth, left)
        // Columns that are packed already stay, when all the depth fits into one block.
        if (i0 === 0 || k > DEPTH) packColumns(b, p0, depth, j0, columns, right)
        multiply(rows, columns, depth, width)
      }
      store(c, i0, rows, j0, columns, sums, width, add)
    }
  }
}

function roundUp(extent: number): number {
  return Math.ceil(extent / PANEL) * PANEL
}

function rowOffset({ rows, offset = 0 }: Block, row: number): number {
  if (row < rows.inner) return offset + row * rows.innerStride
  return offset + Math.floor(row / rows.inner) * rows.outerStride + (row % rows.inner) * rows.innerStride
}

/** Panels of four rows, each `[depth, 4]`; rows beyond the last are zeros. */
function packRows(a: Block, i0: number, rows: number, p0: number, depth: number, packed: Float64Array): void {
  const { data, columnStride } = a
  let at = 0
  for (let i = 0; i < rows; i += PANEL) {
    for (let lane = 0; lane < PANEL; lane++) {
      if (i + lane >= rows) for (let p = 0; p < depth; p++) packed[at + p * PANEL + lane] = 0
      else {
        let from = rowOffset(a, i0 + i + lane) + p0 * columnStride
        for (let p = 0; p < depth; p++) {
          packed[at + p * PANEL + lane] = data[from]!
          from += columnStride
        }
      }
    }
    at += depth * PANEL
  }
}

/** Panels of four columns, each `[depth, 4]`; columns beyond the last are zeros. */
function packColumns(b: Block, p0: number, depth: number, j0: number, columns: number, packed: Float64Array): void {
  const { data, columnStride } = b
  for (let p = 0; p < depth; p++) {
    const row = rowOffset(b, p0 + p) + j0 * columnStride
    for (let j = 0; j < columns; j += PANEL) {
      const at = j * depth + p * PANEL
      for (let lane = 0; lane < PANEL; lane++)
        packed[at + lane] = j + lane < columns ? data[row + (j + lane) * columnStride]! : 0
    }
  }
}

function store(
  c: Block,
  i0: number,
  rows: number,
  j0: number,
  columns: number,
  sums: Float64Array,
  width: number,
  add: boolean,
): void {
  const { data, columnStride } = c
  for (let i = 0; i < rows; i++) {
    let to = rowOffset(c, i0 + i) + j0 * columnStride
    const from = i * width
    for (let j = 0; j < columns; j++) {
      data[to] = add ? data[to]! + sums[from + j]! : sums[from + j]!
      to += columnStride
    }
  }
}
