// AssemblyScript: passes over numbers that a JavaScript loop takes two to four times as long for.
//
// Compiled by scripts/build-wasm.mjs into src/tensor/passes-wasm.generated.ts; not part of the TypeScript projects. The
// host owns the memory and passes byte addresses; nothing is allocated here.

/** Σ x² of `count` numbers in float64; count is a multiple of 8. */
export function sumOfSquares(from: usize, count: i32): f64 {
  let a = f64x2.splat(0)
  let b = a
  let c = a
  let d = a
  const end = from + ((<usize>count) << 2)
  for (; from < end; from += 32) {
    const x = v128.load(from)
    const y = v128.load(from, 16)
    const x0 = f64x2.promote_low_f32x4(x)
    const x1 = f64x2.promote_low_f32x4(i64x2.shuffle(x, x, 1, 0))
    const y0 = f64x2.promote_low_f32x4(y)
    const y1 = f64x2.promote_low_f32x4(i64x2.shuffle(y, y, 1, 0))
    a = f64x2.add(a, f64x2.mul(x0, x0))
    b = f64x2.add(b, f64x2.mul(x1, x1))
    c = f64x2.add(c, f64x2.mul(y0, y0))
    d = f64x2.add(d, f64x2.mul(y1, y1))
  }
  const sum = f64x2.add(f64x2.add(a, b), f64x2.add(c, d))
  return f64x2.extract_lane(sum, 0) + f64x2.extract_lane(sum, 1)
}

/** {@link sumOfSquares} of float64 numbers. */
export function sumOfSquares64(from: usize, count: i32): f64 {
  let a = f64x2.splat(0)
  let b = a
  let c = a
  let d = a
  const end = from + ((<usize>count) << 3)
  for (; from < end; from += 64) {
    const w = v128.load(from)
    const x = v128.load(from, 16)
    const y = v128.load(from, 32)
    const z = v128.load(from, 48)
    a = f64x2.add(a, f64x2.mul(w, w))
    b = f64x2.add(b, f64x2.mul(x, x))
    c = f64x2.add(c, f64x2.mul(y, y))
    d = f64x2.add(d, f64x2.mul(z, z))
  }
  const sum = f64x2.add(f64x2.add(a, b), f64x2.add(c, d))
  return f64x2.extract_lane(sum, 0) + f64x2.extract_lane(sum, 1)
}

/** out = each of `count` rows times `factors`, element by element, all float32. @param rows,out `[count, rank]`. */
export function scaleRows32(factors: usize, rows: usize, count: i32, rank: i32, out: usize): void {
  const whole = rank - (rank & 3)
  for (let row = 0; row < count; row++) {
    let at = factors
    let r = 0
    for (; r < whole; r += 4) {
      v128.store(out, f32x4.mul(v128.load(at), v128.load(rows)))
      at += 16
      rows += 16
      out += 16
    }
    for (; r < rank; r++) {
      store<f32>(out, load<f32>(at) * load<f32>(rows))
      at += 4
      rows += 4
      out += 4
    }
  }
}

/** Columns that are transposed together: as many lines of the result stay in the cache, also where rows are powers of two. */
const STRIP = 16

/** to `[cols, rows]` = from `[rows, cols]` transposed, numbers of 32 bits. */
export function transpose32(from: usize, rows: i32, cols: i32, to: usize): void {
  const down = (<usize>cols) << 2
  const across = (<usize>rows) << 2
  const wholeRows = rows - (rows & 3)
  const wholeCols = cols - (cols & 3)
  for (let x0 = 0; x0 < wholeCols; x0 += STRIP) {
    const end = min(x0 + STRIP, wholeCols)
    for (let y = 0; y < wholeRows; y += 4) {
      let s = from + <usize>y * down + ((<usize>x0) << 2)
      let t = to + <usize>x0 * across + ((<usize>y) << 2)
      for (let x = x0; x < end; x += 4) {
        const a = v128.load(s)
        const b = v128.load(s + down)
        const c = v128.load(s + 2 * down)
        const d = v128.load(s + 3 * down)
        const ab0 = i32x4.shuffle(a, b, 0, 4, 1, 5)
        const ab1 = i32x4.shuffle(a, b, 2, 6, 3, 7)
        const cd0 = i32x4.shuffle(c, d, 0, 4, 1, 5)
        const cd1 = i32x4.shuffle(c, d, 2, 6, 3, 7)
        v128.store(t, i64x2.shuffle(ab0, cd0, 0, 2))
        v128.store(t + across, i64x2.shuffle(ab0, cd0, 1, 3))
        v128.store(t + 2 * across, i64x2.shuffle(ab1, cd1, 0, 2))
        v128.store(t + 3 * across, i64x2.shuffle(ab1, cd1, 1, 3))
        s += 16
        t += 4 * across
      }
    }
  }
  for (let x = 0; x < cols; x++) {
    const first = x < wholeCols ? wholeRows : 0
    for (let y = first; y < rows; y++)
      store<i32>(to + <usize>x * across + ((<usize>y) << 2), load<i32>(from + <usize>y * down + ((<usize>x) << 2)))
  }
}
