// Tensors decomposed by Whittle, with core and factors in files, for the comparison with TensorLy on the same data.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  economySvd,
  nonNegativeTucker,
  partialTucker,
  randomizedSvd,
  robustPca,
  tensorTrain,
  tensorTrainMatrix,
  truncatedSvd,
  tucker,
} from 'whittle-nn/decompose'
import { createNodeRuntime } from 'whittle-nn/node'
import { randomTensor, randomTt, randomTucker, Tensor, ttToTensor, tuckerToTensor } from 'whittle-nn/tensor'
import { encodeNpy } from './npy.mjs'

const lengthOf = (data) => Math.sqrt(data.reduce((sum, value) => sum + value * value, 0))

/** A signal with noise of a share of its norm. */
function noisy(signal, share, { seed, dtype = 'float64' }) {
  const noise = randomTensor(signal.shape, { seed })
  const scale = (share * lengthOf(signal.data)) / lengthOf(noise.data)
  const data = signal.data.map((value, i) => value + scale * noise.data[i])
  return Tensor.of(dtype === 'float32' ? Float32Array.from(data) : data, signal.shape)
}

/** Tensors with names: near low rank, far from it, of float32, and with a decaying core. */
function tensors() {
  const decaying = randomTucker([30, 25, 20], [15, 15, 15], { seed: 5 })
  const core = decaying.core.data.map((value, i) => {
    const [a, b, c] = [Math.floor(i / 225), Math.floor(i / 15) % 15, i % 15]
    return value * 0.7 ** (a + b + c)
  })
  const smooth = tuckerToTensor({ ...decaying, core: Tensor.of(core, [15, 15, 15]) })
  return {
    'noisy (60, 70, 80)': {
      tensor: noisy(tuckerToTensor(randomTucker([60, 70, 80], [8, 8, 8], { seed: 1 })), 0.1, { seed: 2 }),
      ranks: [8, 8, 8],
    },
    'noisy float32 (64, 128, 96)': {
      tensor: noisy(tuckerToTensor(randomTucker([64, 128, 96], [10, 12, 9], { seed: 3 })), 0.3, {
        seed: 4,
        dtype: 'float32',
      }),
      ranks: [10, 12, 9],
    },
    'decaying (30, 25, 20)': { tensor: noisy(smooth, 0.01, { seed: 6 }), ranks: [5, 6, 7] },
    'noise (40, 50, 60)': { tensor: randomTensor([40, 50, 60], { seed: 7 }), ranks: [10, 10, 10] },
    'noise (12, 14, 10, 16)': { tensor: randomTensor([12, 14, 10, 16], { seed: 8 }), ranks: [4, 5, 3, 6] },
  }
}

const matrixOf = ({ data, shape: [rows, cols] }) => ({ rows, cols, data })
const tensorOf = ({ rows, cols, data }) => Tensor.of(data, [rows, cols])

/** Writes tensors and what Whittle made of them into a folder; returns what tucker.py reads. */
export async function tuckerCases(folder) {
  const { matrices: engine } = await createNodeRuntime()
  const cases = []
  let files = 0
  const save = ({ data, shape }) => {
    const path = join(folder, `tensor-${files++}.npy`)
    writeFileSync(path, encodeNpy(data, shape))
    return path
  }
  const add = (kind, name, tensor, parts, settings = {}) =>
    cases.push({ kind, name: `${kind}: ${name}`, tensor: save(tensor), parts: parts.map(save), ...settings })

  for (const [name, { tensor, ranks }] of Object.entries(tensors())) {
    for (const init of ['svd', 'random']) {
      const { core, factors } = await tucker(engine, tensor, ranks, { init, maxIterations: 10, tolerance: 0 })
      add('tucker', `${name} from ${init}`, tensor, [core, ...factors], { ranks, init, iterations: 10 })
    }
    const modes = [0, 1]
    const partial = await partialTucker(engine, tensor, modes, ranks.slice(0, 2), { maxIterations: 10, tolerance: 0 })
    add('partial_tucker', name, tensor, [partial.core, ...partial.factors], {
      ranks: ranks.slice(0, 2),
      modes,
      iterations: 10,
    })
    const magnitudes = Tensor.of(tensor.data.map(Math.abs), tensor.shape)
    for (const method of ['multiplicative', 'hals']) {
      const found = await nonNegativeTucker(engine, magnitudes, ranks, { method, maxIterations: 20, tolerance: 0 })
      add('non_negative_tucker', `${name} by ${method}`, magnitudes, [found.core, ...found.factors], {
        ranks,
        method,
        iterations: 20,
      })
    }
    const train = [1, ...ranks.slice(1), 1]
    add('tensor_train', name, tensor, (await tensorTrain(engine, tensor, train)).factors, { ranks: train })
  }
  const weight = randomTensor([8 * 9 * 4, 6 * 5 * 7], { seed: 9 })
  const splits = { rowShape: [8, 9, 4], colShape: [6, 5, 7] }
  const train = await tensorTrainMatrix(engine, weight, { ...splits, ranks: [1, 12, 9, 1] })
  add('tensor_train_matrix', 'noise (288, 210)', weight.reshape([8, 9, 4, 6, 5, 7]), train.factors, {
    ranks: [1, 12, 9, 1],
  })

  for (const shape of [
    [60, 50],
    [20, 22, 24],
  ]) {
    const low =
      shape.length === 2
        ? ttToTensor(randomTt(shape, [1, 3, 1], { seed: 10 }))
        : tuckerToTensor(randomTucker(shape, [2, 2, 2], { seed: 11 }))
    const places = randomTensor(shape, { seed: 12, distribution: 'uniform' }).data
    const sizes = randomTensor(shape, { seed: 13 }).data
    const sum = Tensor.of(
      low.data.map((value, i) => value + (places[i] < 0.05 ? 5 * sizes[i] : 0)),
      shape,
    )
    const lambda = 1 / Math.sqrt(Math.max(...shape))
    const { lowRank, sparse } = await robustPca(engine, sum, { lambda })
    add('robust_pca', `(${shape.join(', ')})`, sum, [lowRank, sparse, low], { lambda })
  }
  for (const [name, tensor] of [
    ['noise (80, 120)', randomTensor([80, 120], { seed: 14 })],
    ['near rank 10 (150, 90)', noisy(ttToTensor(randomTt([150, 90], [1, 10, 1], { seed: 15 })), 0.2, { seed: 16 })],
  ])
    for (const [method, svd] of [
      ['truncated_svd', (a) => truncatedSvd(engine, a, 10)],
      ['randomized_svd', (a) => randomizedSvd(engine, a, 10, { iterations: 2, oversample: 5 })],
      ['economy', (a) => economySvd(engine, a)],
    ]) {
      const { u, s, vt } = await svd(matrixOf(tensor))
      add('svd', `${name} ${method}`, tensor, [tensorOf(u), Tensor.of(s, [s.length]), tensorOf(vt)], {
        method,
        rank: s.length,
      })
    }
  return cases
}
