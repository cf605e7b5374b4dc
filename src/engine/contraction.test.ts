import * as ort from 'onnxruntime-node'
import { expect, test } from 'vitest'
import { randomTensor, randomTensor64, relativeError } from '../../test/support/tensors.ts'
import { type ContractionSpec, parafac } from '../decompose/index.ts'
import { cpToTensor, Tensor, toFloat64, unfoldingDotKhatriRao } from '../tensor/index.ts'
import { createMatrixEngine } from './matrix-engine.ts'

const fed = createMatrixEngine(ort, { threads: 1 })
const embedded = createMatrixEngine(ort, { threads: 1, copiesFeeds: true })

/** `[extent, rank]` as `[rank, extent]`. */
function rows(factor: Tensor): Float64Array {
  const [extent, rank] = factor.shape as [number, number]
  const data = toFloat64(factor)
  return Float64Array.from({ length: extent * rank }, (_, at) => data[(at % extent) * rank + Math.floor(at / extent)]!)
}

test('one run gives the MTTKRP, the factor that solves the equations, its Gram matrix and the rest of the tensor', async () => {
  const [shape, rank] = [[20, 6, 7, 30], 24]
  const tensor = randomTensor64(shape, 1)
  const factors = shape.map((extent, mode) => randomTensor64([extent, rank], 10 + mode))
  const spec: ContractionSpec<Float64Array> = {
    data: tensor.data as Float64Array,
    first: 20,
    others: [6, 7],
    contracted: [30],
    rank,
    changing: false,
  }
  const whitening = toFloat64(randomTensor64([rank, rank], 5)) as Float64Array
  const pull = toFloat64(randomTensor64([rank, 20], 6)) as Float64Array
  const inputs = {
    others: [rows(factors[1]!), rows(factors[2]!)],
    contracted: [rows(factors[3]!)],
    equations: { whitening, pull },
  }
  const mttkrp = rows(unfoldingDotKhatriRao(tensor, { factors }, 0))
  // A = Wᵀ W (M + P)
  const product = (a: Float64Array, b: Float64Array, [m, k, n]: readonly number[], transpose = false): Float64Array =>
    Float64Array.from({ length: m! * n! }, (_, at) => {
      let sum = 0
      for (let p = 0; p < k!; p++)
        sum += a[transpose ? p * m! + Math.floor(at / n!) : Math.floor(at / n!) * k! + p]! * b[p * n! + (at % n!)]!
      return sum
    })
  const right = mttkrp.map((value, at) => value + pull[at]!)
  const factor = product(whitening, product(whitening, right, [rank, rank, 20]), [rank, rank, 20], true)
  for (const engine of [fed, embedded]) {
    const contraction = (await engine.maybePrepareContraction!(spec))!
    const result = await contraction.run(inputs)
    const close = (expected: Float64Array, actual: Float64Array): void =>
      expect(relativeError(Tensor.of(expected, [expected.length]), Tensor.of(actual, [actual.length]))).toBeLessThan(
        1e-12,
      )
    close(mttkrp, result.mttkrp)
    close(factor, result.update!.factor)
    const gram = Float64Array.from({ length: rank * rank }, (_, at) => {
      let sum = 0
      for (let i = 0; i < 20; i++) sum += factor[Math.floor(at / rank) * 20 + i]! * factor[(at % rank) * 20 + i]!
      return sum
    })
    close(gram, result.update!.gram)
    const full = toFloat64(tensor)
    const rest = Float64Array.from({ length: rank * 42 }, (_, at) => {
      const [r, j] = [Math.floor(at / 42), at % 42]
      let sum = 0
      for (let i = 0; i < 20; i++)
        for (let k = 0; k < 30; k++)
          sum += full[(i * 42 + j) * 30 + k]! * inputs.contracted[0]![r * 30 + k]! * factor[r * 20 + i]!
      return sum
    })
    close(rest, result.rest!)
    const alone = await contraction.run({ others: inputs.others, contracted: inputs.contracted })
    close(mttkrp, alone.mttkrp)
    expect(alone.update).toBeUndefined()
    await contraction.release()
  }
  expect(await fed.maybePrepareContraction!({ ...spec, rank: 1 })).toBeUndefined()
})

test('decompositions are the same where the runtime copies what it is fed, missing elements or none', async () => {
  const tensor = randomTensor([24, 25, 26], 3)
  const mask = Tensor.of(
    toFloat64(randomTensor(tensor.shape, 4)).map((value) => (value > -1 ? 1 : 0)),
    tensor.shape,
  )
  for (const options of [{}, { mask }]) {
    const run = (engine: typeof fed) => parafac(engine, tensor, 40, { ...options, maxIterations: 3, tolerance: 0 })
    const [one, other] = [await run(fed), await run(embedded)]
    expect(relativeError(cpToTensor(one), cpToTensor(other))).toBeLessThan(1e-4)
  }
})
