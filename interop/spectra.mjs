// Fifty spectra of matrices that AMCT would factor, with Whittle's EVBMF and AMCT ranks.
import { amctMatrixShape, amctRank } from 'whittle-nn/decompose'

/** Deterministic numbers in [0, 1). */
function generator(seed) {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

const LAYERS = [
  [64, 64, 3],
  [128, 64, 3],
  [96, 160, 3],
  [128, 128, 5],
  [256, 256, 3],
  [512, 256, 3],
  [64, 3, 7],
  [300, 260, 5],
  [320, 320, 3],
  [192, 384, 3],
]

/** Signal with a decaying spectrum over a plateau of noise: how much of each, and the scale, vary from case to case. */
function spectrum(index, rows, cols) {
  const random = generator(index + 1)
  // Around AMCT's window (a seventh to a quarter of the rows), and every fifth far from it.
  const share = index % 5 === 4 ? 0.6 * random() : 0.13 + 0.16 * random()
  const kept = Math.max(1, Math.round(rows * share))
  const strength = 2 + 4 * random()
  const decay = 0.1 + 0.3 * random()
  const scale = 10 ** (2 * random() - 1)
  const values = Array.from({ length: rows }, (_, i) => {
    // Noise: the singular values of a random matrix run between √cols ± √rows (Marchenko and Pastur).
    const noise = Math.sqrt(cols) + Math.sqrt(rows) * (1 - (2 * (i + 0.5)) / rows)
    const signal = i < kept ? strength * Math.sqrt(cols) * (1 - i / kept) ** decay : 0
    return scale * Math.hypot(signal, Math.max(noise, 1e-3))
  })
  return values.sort((a, b) => b - a)
}

/** `{ name, values, rows, cols, outputs, inputs, kernel, channels, raw, amct }` of each case. */
export function spectra() {
  return Array.from({ length: 50 }, (_, index) => {
    const [outputs, inputs, kernel] = LAYERS[index % LAYERS.length]
    const layer = { outputChannels: outputs, inputChannels: inputs, kernelHeight: kernel, kernelWidth: kernel }
    const [rows, cols] = amctMatrixShape(layer)
    const values = spectrum(index, rows, cols)
    const { rank, raw } = amctRank(values, layer)
    const name = `spectrum ${index} of [${outputs}, ${inputs}, ${kernel}, ${kernel}]`
    return { name, values, rows, cols, outputs, inputs, kernel, channels: Math.min(outputs, inputs), raw, amct: rank }
  })
}
