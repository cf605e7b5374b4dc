// Steps of the binary search of roll-back, and similarities of layers, for AMCT's own code to repeat.
import { binarySearchStrategy, quantizationSimilarity } from 'whittle-nn/compress'
import { normal } from '../bench/synthetic-weights.mjs'

const SEARCHES = 300

/** A search over layers with random similarities; which numbers of layers satisfy follows no rule. */
function search(seed) {
  const layers = 1 + Math.floor(Math.abs(normal(seed, 0)) * 8)
  const ranking = Object.fromEntries(
    Array.from({ length: layers }, (_, i) => [
      `layer${i}`,
      Math.round(1e6 * (1 - Math.abs(normal(seed, 10 + i)))) / 1e6,
    ]),
  )
  const holds = Array.from({ length: layers - 1 }, (_, i) => i + 1).filter((count) => normal(seed, 100 + count) > 0)
  const strategy = binarySearchStrategy()
  strategy.initialize(new Map(Object.entries(ranking)))
  const steps = []
  for (let satisfied = false; ; ) {
    const { quantized, stop } = strategy.update({ satisfied, loss: 0 })
    const left = [...quantized].filter(([, isQuantized]) => isQuantized).map(([name]) => name)
    steps.push({ quantized: left, stop })
    // Everything rolled back ends the search before the strategy is asked again, there and here.
    if (stop || left.length === 0) return { ranking, holds, steps }
    satisfied = holds.includes(layers - left.length)
  }
}

function similarity(seed) {
  const reference = Array.from({ length: 20 }, (_, i) => normal(seed, i))
  const other = reference.map((value, i) => value + (seed % 5) * 0.3 * normal(seed, 50 + i))
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0)
  const sums = { reference: dot(reference, reference), other: dot(other, other), product: dot(reference, other) }
  return { reference, other, similarity: quantizationSimilarity(sums) }
}

/** Cases of rollback.py. */
export function rollbackCases() {
  const zero = new Array(4).fill(0)
  return {
    searches: Array.from({ length: SEARCHES }, (_, seed) => search(seed)),
    similarities: [
      ...Array.from({ length: 50 }, (_, seed) => similarity(seed)),
      { reference: zero, other: zero, similarity: quantizationSimilarity({ reference: 0, other: 0, product: 0 }) },
      { reference: [1, 2], other: [0, 0], similarity: quantizationSimilarity({ reference: 5, other: 0, product: 0 }) },
    ],
  }
}
