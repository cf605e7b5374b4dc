// AssemblyScript: the innermost loops of streaming statistics over float32 numbers.
//
// Compiled by scripts/build-wasm.mjs into src/compress/quantize/calibration/histogram-wasm.generated.ts; not part of the
// TypeScript projects. The host owns the memory and passes byte addresses; nothing is allocated here. Lists of numbers
// are whole fours: the host counts what is left itself.

/** What is left of four lanes: least, greatest (NaN where any number is), zeros; to `out`, 4 bytes each. */
function finish(least: v128, most: v128, zeros: v128, broken: v128, out: usize): void {
  let low = f32x4.extract_lane(least, 0)
  low = min<f32>(low, f32x4.extract_lane(least, 1))
  low = min<f32>(low, f32x4.extract_lane(least, 2))
  low = min<f32>(low, f32x4.extract_lane(least, 3))
  let high = f32x4.extract_lane(most, 0)
  high = max<f32>(high, f32x4.extract_lane(most, 1))
  high = max<f32>(high, f32x4.extract_lane(most, 2))
  high = max<f32>(high, f32x4.extract_lane(most, 3))
  const nan = v128.any_true(broken)
  store<f32>(out, nan ? f32.NaN : low)
  store<f32>(out, nan ? f32.NaN : high, 4)
  const pairs = i32x4.extract_lane(zeros, 0) + i32x4.extract_lane(zeros, 1)
  store<i32>(out, pairs + i32x4.extract_lane(zeros, 2) + i32x4.extract_lane(zeros, 3), 8)
}

/** Least and greatest of `[count]` numbers, and how many are zero, to `out`. */
export function scan(data: usize, count: i32, out: usize): void {
  const none = f32x4.splat(0)
  let least = v128.load(data)
  let most = least
  let zeros = i32x4.splat(0)
  let broken = i32x4.splat(0)
  const end = data + ((<usize>count) << 2)
  for (; data < end; data += 16) {
    const x = v128.load(data)
    least = f32x4.pmin(least, x)
    most = f32x4.pmax(most, x)
    zeros = i32x4.sub(zeros, f32x4.eq(x, none))
    broken = v128.or(broken, f32x4.ne(x, x))
  }
  finish(least, most, zeros, broken, out)
}

function increment(at: usize): void {
  store<i32>(at, load<i32>(at) + 1)
}

function put(x: f32, bin: u32, bins: i32, table: usize, rest: usize): usize {
  if (x === 0) return rest
  if (bin < <u32>bins) {
    increment(table + ((<usize>bin) << 2))
    return rest
  }
  store<f32>(rest, x)
  return rest + 4
}

function keep(x: f32, low: f32, high: f32, far: usize): usize {
  if (x < low || x > high) {
    store<f32>(far, x)
    return far + 4
  }
  return far
}

/**
 * Counts numbers in bins: bin `half + i` holds [i, i + 1) / inverse, bin `half − 1 − i` holds (−i − 1, −i] / inverse; zeros
 * are in none. Two tables take turns, so that equal numbers in a row do not wait for each other. Zeros, most of the
 * numbers after a Relu, would: they go to four places each behind the tables, which mean nothing.
 *
 * @param half a multiple of 4. @param table two tables of `2 · half + 4` int32 numbers. @param rest receives the numbers that are in no bin.
 * @param far receives the numbers below `low` or above `high`.
 * @param out receives what {@link scan} does, and behind it the ends of `rest` and `far` (int32 each).
 */
export function count(
  data: usize,
  numbers: i32,
  inverse: f32,
  half: i32,
  table: usize,
  rest: usize,
  low: f32,
  high: f32,
  far: usize,
  out: usize,
): void {
  const none = f32x4.splat(0)
  const scale = f32x4.splat(inverse)
  const shift = i32x4.splat(half)
  const bins = 2 * half
  const limit = i32x4.splat(bins)
  const below = f32x4.splat(low)
  const above = f32x4.splat(high)
  const other = table + ((<usize>(bins + 4)) << 2)
  const turn = i32x4.splat(2)
  let places = i32x4.add(limit, i32x4(0, 0, 1, 1))
  let least = v128.load(data)
  let most = least
  let zeros = i32x4.splat(0)
  let broken = i32x4.splat(0)
  const end = data + ((<usize>numbers) << 2)
  for (; data < end; data += 16) {
    const x = v128.load(data)
    least = f32x4.pmin(least, x)
    most = f32x4.pmax(most, x)
    const isZero = f32x4.eq(x, none)
    zeros = i32x4.sub(zeros, isZero)
    broken = v128.or(broken, f32x4.ne(x, x))
    const steps = i32x4.trunc_sat_f32x4_s(f32x4.mul(x, scale))
    const bin = i32x4.add(i32x4.add(steps, f32x4.lt(x, none)), shift)
    places = v128.xor(places, turn)
    const place = v128.bitselect(places, bin, isZero)
    const lanes01 = i64x2.extract_lane(place, 0)
    const lanes23 = i64x2.extract_lane(place, 1)
    if (i32x4.all_true(i32x4.lt_u(bin, limit))) {
      increment(table + ((<usize>(<u32>lanes01)) << 2))
      increment(other + ((<usize>(lanes01 >>> 32)) << 2))
      increment(table + ((<usize>(<u32>lanes23)) << 2))
      increment(other + ((<usize>(lanes23 >>> 32)) << 2))
    } else {
      rest = put(f32x4.extract_lane(x, 0), <u32>lanes01, bins, table, rest)
      rest = put(f32x4.extract_lane(x, 1), <u32>(lanes01 >>> 32), bins, table, rest)
      rest = put(f32x4.extract_lane(x, 2), <u32>lanes23, bins, table, rest)
      rest = put(f32x4.extract_lane(x, 3), <u32>(lanes23 >>> 32), bins, table, rest)
    }
    if (v128.any_true(v128.or(f32x4.lt(x, below), f32x4.gt(x, above)))) {
      far = keep(f32x4.extract_lane(x, 0), low, high, far)
      far = keep(f32x4.extract_lane(x, 1), low, high, far)
      far = keep(f32x4.extract_lane(x, 2), low, high, far)
      far = keep(f32x4.extract_lane(x, 3), low, high, far)
    }
  }
  finish(least, most, zeros, broken, out)
  store<i32>(out, <i32>rest, 12)
  store<i32>(out, <i32>far, 16)
}
