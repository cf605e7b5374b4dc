/** Where CP decompositions start. */
import { createRandom, type Random } from '../../core/index.ts'
import { type CpTensor, sizeOf } from '../../tensor/index.ts'
import { modeGram } from '../gram.ts'
import type { MatrixEngine } from '../matrix.ts'
import { arrayLike, transposed } from '../matrix-layout.ts'
import { symmetricEigen } from '../symmetric-eigen.ts'
import type { CheckedCp, Reals } from './cp-options.ts'

/**
 * Factors `[rank, i_k]` to start from, components in rows, of the tensor's type; weights of a given CP tensor go into the first
 * factor that will be updated.
 *
 * @param init `'random'`: normally distributed. `'svd'`: the leading left singular vectors of each unfolding, followed
 *   by random columns where the mode is shorter than the rank.
 */
export async function initialFactors<T extends Reals>(
  engine: MatrixEngine,
  { data, shape, rank, modes, nonNegative }: CheckedCp & { readonly data: T },
  init: 'svd' | 'random' | CpTensor,
  { seed, signal }: { readonly seed: number; readonly signal: AbortSignal | undefined },
): Promise<T[]> {
  if (typeof init === 'object') return givenFactors<T>(init, rank, modes[0] ?? 0)
  const random = createRandom(seed)
  const factors: T[] = []
  for (const [mode, extent] of shape.entries()) {
    const factor = randomFactor(data, extent, rank, random)
    if (init === 'svd') {
      const dims = [sizeOf(shape.slice(0, mode)), extent, sizeOf(shape.slice(mode + 1))] as const
      const count = Math.min(rank, extent)
      const gram = await modeGram(engine, data, dims, { signal })
      const vectors = (await symmetricEigen(engine, gram, { count, signal })).vectors!
      factor.set(transposed(vectors).data)
    }
    if (nonNegative) for (let at = 0; at < factor.length; at++) factor[at] = Math.abs(factor[at]!)
    factors.push(factor)
  }
  return factors
}

/** Rows of length about 1, as singular vectors have. */
function randomFactor<T extends Reals>(like: T, extent: number, rank: number, random: Random): T {
  const factor = arrayLike(like, extent * rank)
  const scale = 1 / Math.sqrt(extent)
  for (let at = 0; at < factor.length; at++) factor[at] = random.normal() * scale
  return factor
}

function givenFactors<T extends Reals>({ weights, factors }: CpTensor, rank: number, mode: number): T[] {
  return factors.map((factor, k) => {
    const extent = factor.shape[0]!
    const { data } = transposed({ rows: extent, cols: rank, data: factor.data as T })
    if (k !== mode || !weights) return data
    const scale = weights.data as Reals
    for (let at = 0; at < data.length; at++) data[at]! *= scale[Math.floor(at / extent)]!
    return data
  })
}
