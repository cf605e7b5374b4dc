/** Tensor trains of weights: the tensor a train is made of, and the stages' arrays from its cores. */
import { type MatrixEngine, tensorTrain } from '../../decompose/index.ts'
import { Tensor, transposeTensor } from '../../tensor/index.ts'
import type { Site } from '../sites.ts'
import { type GroupKernel, type Reals, swapLeading } from './kernel.ts'
import type { FactorisedChannels, FormVariant, Ranks, Stage } from './stage.ts'

/** The matrix `[out, in]` of a linear layer as `[n_1 m_1, n_2 m_2, …]`, n being the factors of `in`, m of `out`. */
export function pairTensor(kernel: Pick<GroupKernel, 'data'>, { inputs, outputs }: FactorisedChannels): Tensor {
  const count = inputs.length
  const order = inputs.flatMap((_, k) => [count + k, k])
  const permuted = transposeTensor(Tensor.of(kernel.data, [...outputs, ...inputs]), order)
  return Tensor.of(
    permuted.data as Reals,
    inputs.map((extent, k) => extent * outputs[k]!),
  )
}

/** The kernel `[out, in, taps]` as `[in, taps of the axes one by one, out]`. */
export function trainTensor(kernel: GroupKernel, taps: readonly number[]): Tensor {
  const { data, outputs, inputs } = kernel
  return Tensor.of(swapLeading(data, outputs, data.length / outputs, 1), [inputs, ...taps, outputs])
}

/** The kernel's extents along the axes of a train, without those that are 1 wide. */
export function trainTaps(site: Site): number[] {
  return site.kernel.filter((extent) => extent > 1)
}

/** The arrays of a train's stages, `[out, in, taps]`, from its cores `[r, extent, r′]`. */
export function stagesOfCores(
  cores: readonly Tensor[],
  stages: readonly Stage[],
  channels: FactorisedChannels | undefined,
): Record<string, Reals> {
  const last = cores.length - 1
  return Object.fromEntries(
    cores.map((core, k) => {
      const [before, , after] = core.shape as [number, number, number]
      const array = channels
        ? // [r, n, m, r′] → [(m, r′), (r, n)]
          transposeTensor(
            Tensor.of(core.data, [before, channels.inputs[k]!, channels.outputs[k]!, after]),
            [2, 3, 0, 1],
          )
        : // [r, taps, r′] → [r′, r, taps]; the last core maps r to outputs
          transposeTensor(core, k === last ? [1, 0, 2] : [2, 0, 1])
      return [stages[k]!.role, array.data as Reals]
    }),
  )
}

/** Factors a group's weight into a train; all cores but the last are orthonormal. */
export async function factorTrain(
  engine: MatrixEngine,
  kernel: GroupKernel,
  site: Site,
  variant: FormVariant,
  ranks: Ranks,
  options: { readonly seed?: number; readonly signal?: AbortSignal | undefined },
): Promise<{ stages: Record<string, Reals>; relativeError: number }> {
  const { channels } = variant
  const tensor = channels ? pairTensor(kernel, channels) : trainTensor(kernel, trainTaps(site))
  const between = tensor.shape.slice(1).map((_, k) => ranks[`r${k + 1}`]!)
  const { seed = 0, signal } = options
  const train = await tensorTrain(engine, tensor, [1, ...between, 1], { seed, ...(signal ? { signal } : {}) })
  return {
    stages: stagesOfCores(train.factors, variant.stages(ranks), channels),
    relativeError: train.relativeError,
  }
}
