// AssemblyScript: the innermost loops of matrix products in float64, over operands packed in panels, and of Khatri–Rao
// products in float32.
//
// Compiled by scripts/build-wasm.mjs into src/tensor/panels-wasm.generated.ts; not part of the TypeScript projects. The
// host owns the memory and passes byte addresses; nothing is allocated here.
//
// Source: Goto, van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), 2008.

/** sums[4, 4] += a[depth, 4]ᵀ b[depth, 4], rows of the sums `stride` bytes apart. */
function multiplyPanel(a: usize, b: usize, depth: i32, sums: usize, stride: usize): void {
  let c00 = f64x2.splat(0)
  let c01 = c00
  let c10 = c00
  let c11 = c00
  let c20 = c00
  let c21 = c00
  let c30 = c00
  let c31 = c00
  for (let p = 0; p < depth; p++) {
    const b0 = v128.load(b)
    const b1 = v128.load(b, 16)
    const a0 = v128.load64_splat(a)
    const a1 = v128.load64_splat(a, 8)
    const a2 = v128.load64_splat(a, 16)
    const a3 = v128.load64_splat(a, 24)
    c00 = f64x2.add(c00, f64x2.mul(a0, b0))
    c01 = f64x2.add(c01, f64x2.mul(a0, b1))
    c10 = f64x2.add(c10, f64x2.mul(a1, b0))
    c11 = f64x2.add(c11, f64x2.mul(a1, b1))
    c20 = f64x2.add(c20, f64x2.mul(a2, b0))
    c21 = f64x2.add(c21, f64x2.mul(a2, b1))
    c30 = f64x2.add(c30, f64x2.mul(a3, b0))
    c31 = f64x2.add(c31, f64x2.mul(a3, b1))
    a += 32
    b += 32
  }
  add(sums, c00, c01)
  add(sums + stride, c10, c11)
  add(sums + 2 * stride, c20, c21)
  add(sums + 3 * stride, c30, c31)
}

function add(at: usize, low: v128, high: v128): void {
  v128.store(at, f64x2.add(v128.load(at), low))
  v128.store(at, f64x2.add(v128.load(at, 16), high), 16)
}

/**
 * sums += a @ b.
 *
 * @param a `[ceil(rows / 4)]` panels `[depth, 4]`. @param b `[ceil(columns / 4)]` panels `[depth, 4]`.
 * @param sums `[rows, width]`, both rounded up to fours.
 */
export function multiplyPanels(a: usize, rows: i32, b: usize, columns: i32, depth: i32, sums: usize, width: i32): void {
  const panel = (<usize>depth) << 5
  const stride = (<usize>width) << 3
  for (let j = 0; j < columns; j += 4) {
    let left = a
    let target = sums + ((<usize>j) << 3)
    for (let i = 0; i < rows; i += 4) {
      multiplyPanel(left, b, depth, target, stride)
      left += panel
      target += 4 * stride
    }
    b += panel
  }
}

/**
 * out = each of `count` rows of float32 numbers times `factors`, element by element; products in float64, rounded once.
 *
 * @param factors `[rank]`, float64. @param rows,out `[count, rank]`, float32.
 */
export function scaleRows(factors: usize, rows: usize, count: i32, rank: i32, out: usize): void {
  const whole = rank - (rank & 3)
  for (let row = 0; row < count; row++) {
    let at = factors
    let r = 0
    for (; r < whole; r += 4) {
      const x = v128.load(rows)
      const low = f64x2.mul(v128.load(at), f64x2.promote_low_f32x4(x))
      const high = f64x2.mul(v128.load(at, 16), f64x2.promote_low_f32x4(i64x2.shuffle(x, x, 1, 0)))
      const packed = i64x2.shuffle(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 2)
      v128.store(out, packed)
      at += 32
      rows += 16
      out += 16
    }
    for (; r < rank; r++) {
      store<f32>(out, <f32>(load<f64>(at) * <f64>load<f32>(rows)))
      at += 8
      rows += 4
      out += 4
    }
  }
}
