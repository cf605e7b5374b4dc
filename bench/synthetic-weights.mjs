// Weights of convolutions with a decaying spectrum, the same in every language: a hash of a counter, an approximate
// normal number from its four bytes, a low-rank signal (90 % of the energy) and noise (10 %).

/** A 32-bit hash of counter i in stream `seed`. */
function hash(seed, i) {
  let x = (i + Math.imul(seed, 0x9e3779b9)) >>> 0
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad)
  x = Math.imul(x ^ (x >>> 15), 0xd35a2d97)
  return (x ^ (x >>> 15)) >>> 0
}

/** A number of mean 0 and variance 1, nearly normal. */
export function normal(seed, i) {
  const h = hash(seed, i)
  return ((h & 255) + ((h >>> 8) & 255) + ((h >>> 16) & 255) + (h >>> 24) - 510) / 147.80054127
}

function normals(seed, offset, length) {
  return Float64Array.from({ length }, (_, i) => normal(seed, offset + i))
}

/**
 * The weight `[outputs, inputs, kernel, kernel]` of a convolution, row-major, with the variance of Kaiming's
 * initialisation (2 / (inputs · kernel²)).
 *
 * With R = min(outputs, inputs) / 2 and d[r] = (r+1)^−0.75, tap p is env[p] · A diag(d) G_p diag(d) Bᵀ plus noise, env
 * falling off from the kernel's centre. Four streams of numbers are used, from `stream` on; layers with their own
 * `stream` (0, 4, 8 …) are independent.
 *
 * @param matrices a matrix engine; products are in float64, the result is rounded once.
 */
export async function syntheticWeight(matrices, { outputs, inputs, kernel, stream = 0 }) {
  const rank = Math.max(1, Math.floor(Math.min(outputs, inputs) / 2))
  const taps = kernel * kernel
  const decay = Float64Array.from({ length: rank }, (_, r) => (r + 1) ** -0.75)
  const scaled = (seed, rows) => ({
    rows,
    cols: rank,
    data: normals(stream + seed, 0, rows * rank).map((value, at) => value * decay[at % rank]),
  })
  const left = scaled(1, outputs)
  const right = scaled(2, inputs)
  const centre = (kernel - 1) / 2
  const envelope = Float64Array.from({ length: taps }, (_, p) => {
    const [y, x] = [Math.floor(p / kernel) - centre, (p % kernel) - centre]
    return 1 / (1 + y * y + x * x)
  })
  const squares = (values) => values.reduce((sum, value) => sum + value * value, 0)
  const signal = Math.sqrt((0.9 * 2) / (inputs * squares(decay) ** 2 * squares(envelope)))
  const noise = Math.sqrt((0.1 * 2) / (inputs * taps))
  const weight = new Float32Array(outputs * inputs * taps)
  for (let p = 0; p < taps; p++) {
    const core = { rows: rank, cols: rank, data: normals(stream + 3, p * rank * rank, rank * rank) }
    const half = await matrices.multiply(core, right, { transposeB: true })
    const { data } = await matrices.multiply(left, half)
    for (let at = 0; at < data.length; at++)
      weight[at * taps + p] = signal * envelope[p] * data[at] + noise * normal(stream + 4, at * taps + p)
  }
  return weight
}
