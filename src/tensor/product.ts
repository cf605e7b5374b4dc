/**
 * The matrix product under every operation of tensor algebra: blocked, accumulated in float64, over operands in place.
 *
 * Blocks of both operands are packed into float64 panels, four rows and four columns at a time, so that the innermost
 * loop keeps sixteen sums in registers and reads memory in order, whatever the strides and element types. Row indices
 * may be split in two: a mode in the middle of a tensor is multiplied without permuting the tensor first.
 *
 * Source of the scheme: Goto, van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), 2008.
 */
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

const PANEL = 4
/** Rows, columns and depth of the blocks: 256 KB of packed rows and of sums, 512 KB of packed columns. */
const ROWS = 128
const COLUMNS = 256
const DEPTH = 256

/** Rows that lie one after the other, `stride` apart. */
export function evenRows(stride: number): Rows {
  return { inner: Number.POSITIVE_INFINITY, innerStride: stride, outerStride: 0 }
}

/** A row-major matrix with `columns` columns. */
export function rowMajor(data: Reals, columns: number, offset = 0): Block {
  return { data, offset, rows: evenRows(columns), columnStride: 1 }
}

/** The transpose of a row-major matrix with `columns` columns. */
export function columnMajor(data: Reals, columns: number, offset = 0): Block {
  return { data, offset, rows: evenRows(1), columnStride: columns }
}

/**
 * c = a @ b, or c += a @ b.
 *
 * @param a `[m, k]`. @param b `[k, n]`. @param c `[m, n]`, written to; must not overlap a or b.
 * @param add adds to what c holds, default false. Sums that span several calls are rounded to the type of c in between.
 */
export function multiplyInto(
  c: Block,
  a: Block,
  b: Block,
  [m, k, n]: readonly [m: number, k: number, n: number],
  add = false,
): void {
  const width = Math.min(COLUMNS, roundUp(n))
  const height = Math.min(ROWS, roundUp(m))
  const packedA = new Float64Array(height * Math.min(k, DEPTH))
  const packedB = new Float64Array(Math.min(k, DEPTH) * width)
  const sums = new Float64Array(height * width)
  for (let j0 = 0; j0 < n; j0 += COLUMNS) {
    const columns = Math.min(COLUMNS, n - j0)
    for (let i0 = 0; i0 < m; i0 += ROWS) {
      const rows = Math.min(ROWS, m - i0)
      sums.fill(0)
      for (let p0 = 0; p0 < k; p0 += DEPTH) {
        const depth = Math.min(DEPTH, k - p0)
        packRows(a, i0, rows, p0, depth, packedA)
        // Columns that are packed already stay, when all the depth fits into one block.
        if (i0 === 0 || k > DEPTH) packColumns(b, p0, depth, j0, columns, packedB)
        multiplyPanels(packedA, rows, packedB, columns, depth, sums, width)
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

function multiplyPanels(
  a: Float64Array,
  rows: number,
  b: Float64Array,
  columns: number,
  depth: number,
  sums: Float64Array,
  width: number,
): void {
  for (let j = 0; j < columns; j += PANEL)
    for (let i = 0; i < rows; i += PANEL) multiplyPanel(a, i * depth, b, j * depth, depth, sums, i * width + j, width)
}

/** sums[4, 4] += a[depth, 4]ᵀ b[depth, 4]. */
function multiplyPanel(
  a: Float64Array,
  aStart: number,
  b: Float64Array,
  bStart: number,
  depth: number,
  sums: Float64Array,
  start: number,
  width: number,
): void {
  let [c00, c01, c02, c03] = [0, 0, 0, 0]
  let [c10, c11, c12, c13] = [0, 0, 0, 0]
  let [c20, c21, c22, c23] = [0, 0, 0, 0]
  let [c30, c31, c32, c33] = [0, 0, 0, 0]
  let x = aStart
  let y = bStart
  for (let p = 0; p < depth; p++) {
    const a0 = a[x]!
    const a1 = a[x + 1]!
    const a2 = a[x + 2]!
    const a3 = a[x + 3]!
    const b0 = b[y]!
    const b1 = b[y + 1]!
    const b2 = b[y + 2]!
    const b3 = b[y + 3]!
    c00 += a0 * b0
    c01 += a0 * b1
    c02 += a0 * b2
    c03 += a0 * b3
    c10 += a1 * b0
    c11 += a1 * b1
    c12 += a1 * b2
    c13 += a1 * b3
    c20 += a2 * b0
    c21 += a2 * b1
    c22 += a2 * b2
    c23 += a2 * b3
    c30 += a3 * b0
    c31 += a3 * b1
    c32 += a3 * b2
    c33 += a3 * b3
    x += PANEL
    y += PANEL
  }
  addRow(sums, start, c00, c01, c02, c03)
  addRow(sums, start + width, c10, c11, c12, c13)
  addRow(sums, start + 2 * width, c20, c21, c22, c23)
  addRow(sums, start + 3 * width, c30, c31, c32, c33)
}

function addRow(sums: Float64Array, at: number, a: number, b: number, c: number, d: number): void {
  sums[at]! += a
  sums[at + 1]! += b
  sums[at + 2]! += c
  sums[at + 3]! += d
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
