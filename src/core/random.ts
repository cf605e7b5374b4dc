/**
 * The only source of randomness of the package: xoshiro128** seeded by splitmix32, so that a seed gives the same
 * numbers on every platform. Source: Blackman, Vigna, "Scrambled linear pseudorandom number generators", 2021.
 */

/** A seeded generator of numbers. */
export interface Random {
  /** An integer in 0 … 2³²−1. */
  nextUint32(): number
  /** A number in [0, 1) with 53 random bits. */
  uniform(): number
  /** A normally distributed number with mean 0 and variance 1 (Box–Muller). */
  normal(): number
  /** An integer in 0 … `bound`−1. */
  integer(bound: number): number
  /** Shuffles in place (Fisher–Yates) and returns its argument. */
  shuffle<T extends { readonly length: number; [index: number]: number }>(items: T): T
}

/** Makes a generator; equal seeds give equal sequences. */
export function createRandom(seed: number): Random {
  let mix = seed >>> 0
  const splitmix = (): number => {
    mix = (mix + 0x9e3779b9) >>> 0
    let x = mix
    x = Math.imul(x ^ (x >>> 16), 0x21f0aaad)
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97)
    return (x ^ (x >>> 15)) >>> 0
  }
  let [a, b, c, d] = [splitmix(), splitmix(), splitmix(), splitmix()]
  const rotate = (x: number, k: number): number => ((x << k) | (x >>> (32 - k))) >>> 0
  const nextUint32 = (): number => {
    const result = Math.imul(rotate(Math.imul(b, 5) >>> 0, 7), 9) >>> 0
    const t = (b << 9) >>> 0
    c = (c ^ a) >>> 0
    d = (d ^ b) >>> 0
    b = (b ^ c) >>> 0
    a = (a ^ d) >>> 0
    c = (c ^ t) >>> 0
    d = rotate(d, 11)
    return result
  }
  const uniform = (): number => ((nextUint32() >>> 5) * 67108864 + (nextUint32() >>> 6)) / 9007199254740992
  let spare: number | undefined
  const normal = (): number => {
    if (spare !== undefined) {
      const value = spare
      spare = undefined
      return value
    }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()))
    const angle = 2 * Math.PI * uniform()
    spare = radius * Math.sin(angle)
    return radius * Math.cos(angle)
  }
  const integer = (bound: number): number => Math.floor(uniform() * bound)
  const shuffle = <T extends { readonly length: number; [index: number]: number }>(items: T): T => {
    for (let i = items.length - 1; i > 0; i--) {
      const j = integer(i + 1)
      const swap = items[i]!
      items[i] = items[j]!
      items[j] = swap
    }
    return items
  }
  return { nextUint32, uniform, normal, integer, shuffle }
}
