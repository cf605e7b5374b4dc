// AssemblyScript: the innermost loops of streaming statistics over float32 numbers.
//
// Compiled by scripts/build-wasm.mjs into src/compress/quantize/calibration/histogram-wasm.generated.ts; not part of the
// TypeScript projects. The host owns the memory and passes byte addresses; nothing is allocated here.

/**
 * Least, greatest and number of zeros.
 *
 * @param data `[count]`, float32. @param out receives least and greatest (float32, NaN where any number is NaN) and the
 * number of zeros (int32).
 */
export function scan(data: usize, count: i32, out: usize): void {
  let least = f32x4.splat(f32.MAX_VALUE)
  let most = f32x4.splat(-f32.MAX_VALUE)
  let zeros = i32x4.splat(0)
  const none = f32x4.splat(0)
  const whole = count & ~3
  let i = 0
  for (; i < whole; i += 4) {
    const x = v128.load(data)
    least = f32x4.min(least, x)
    most = f32x4.max(most, x)
    zeros = i32x4.sub(zeros, f32x4.eq(x, none))
    data += 16
  }
  let low: f32 = f32.MAX_VALUE
  let high: f32 = -f32.MAX_VALUE
  let empty = 0
  for (; i < count; i++) {
    const x = load<f32>(data)
    low = min<f32>(low, x)
    high = max<f32>(high, x)
    empty += i32(x == 0)
    data += 4
  }
  low = min<f32>(low, f32x4.extract_lane(least, 0))
  low = min<f32>(low, f32x4.extract_lane(least, 1))
  low = min<f32>(low, f32x4.extract_lane(least, 2))
  low = min<f32>(low, f32x4.extract_lane(least, 3))
  high = max<f32>(high, f32x4.extract_lane(most, 0))
  high = max<f32>(high, f32x4.extract_lane(most, 1))
  high = max<f32>(high, f32x4.extract_lane(most, 2))
  high = max<f32>(high, f32x4.extract_lane(most, 3))
  empty += i32x4.extract_lane(zeros, 0) + i32x4.extract_lane(zeros, 1)
  empty += i32x4.extract_lane(zeros, 2) + i32x4.extract_lane(zeros, 3)
  store<f32>(out, low)
  store<f32>(out, high, 4)
  store<i32>(out, empty, 8)
}

function increment(at: usize): void {
  store<i32>(at, load<i32>(at) + 1)
}

/**
 * Counts numbers in bins: bin `half + i` holds [i, i + 1) / inverse, bin `half − 1 − i` holds (−i − 1, −i] / inverse; both
 * zeros are in bin `half`. Two tables take turns, so that equal numbers in a row do not wait for each other.
 *
 * @param table two tables of `2 · half` int32 numbers. @param rest receives the numbers that are in no bin.
 * @returns the end of what was written to `rest`.
 */
export function fill(data: usize, count: i32, inverse: f32, half: i32, table: usize, rest: usize): usize {
  const none = f32x4.splat(0)
  const scale = f32x4.splat(inverse)
  const shift = i32x4.splat(half)
  const bins = 2 * half
  const limit = i32x4.splat(bins)
  const other = table + ((<usize>bins) << 2)
  const whole = count & ~3
  let i = 0
  for (; i < whole; i += 4) {
    const x = v128.load(data)
    const steps = i32x4.trunc_sat_f32x4_s(f32x4.mul(x, scale))
    const bin = i32x4.add(i32x4.add(steps, f32x4.lt(x, none)), shift)
    const inside = i32x4.lt_u(bin, limit)
    const low = i64x2.extract_lane(bin, 0)
    const high = i64x2.extract_lane(bin, 1)
    if (i32x4.all_true(inside)) {
      increment(table + ((<usize>(<u32>low)) << 2))
      increment(other + ((<usize>(low >>> 32)) << 2))
      increment(table + ((<usize>(<u32>high)) << 2))
      increment(other + ((<usize>(high >>> 32)) << 2))
    } else {
      rest = put(load<f32>(data), <u32>low, bins, table, rest)
      rest = put(load<f32>(data, 4), <u32>(low >>> 32), bins, table, rest)
      rest = put(load<f32>(data, 8), <u32>high, bins, table, rest)
      rest = put(load<f32>(data, 12), <u32>(high >>> 32), bins, table, rest)
    }
    data += 16
  }
  for (; i < count; i++) {
    const x = load<f32>(data)
    const step = i32x4.extract_lane(i32x4.trunc_sat_f32x4_s(f32x4.splat(x * inverse)), 0)
    const bin = step - i32(x < 0) + half
    rest = put(x, <u32>bin, bins, table, rest)
    data += 4
  }
  return rest
}

function put(x: f32, bin: u32, bins: i32, table: usize, rest: usize): usize {
  if (bin < <u32>bins) {
    increment(table + ((<usize>bin) << 2))
    return rest
  }
  store<f32>(rest, x)
  return rest + 4
}

/** Copies the numbers below `low` or above `high` to `out`; returns the end of what was written. */
export function outside(data: usize, count: i32, low: f32, high: f32, out: usize): usize {
  const below = f32x4.splat(low)
  const above = f32x4.splat(high)
  const whole = count & ~3
  let i = 0
  for (; i < whole; i += 4) {
    const x = v128.load(data)
    if (v128.any_true(v128.or(f32x4.lt(x, below), f32x4.gt(x, above))))
      for (let lane: usize = 0; lane < 16; lane += 4) out = keep(load<f32>(data + lane), low, high, out)
    data += 16
  }
  for (; i < count; i++) {
    out = keep(load<f32>(data), low, high, out)
    data += 4
  }
  return out
}

function keep(x: f32, low: f32, high: f32, out: usize): usize {
  if (x < low || x > high) {
    store<f32>(out, x)
    return out + 4
  }
  return out
}
