/** What quantization checks by itself: without running the network, and without a pass over the data of its own. */
import { checkAborted } from '../../core/index.ts'
import { SurveySums } from '../../engine/index.ts'
import type { Model, TensorMap } from '../../graph/index.ts'
import { checkSamples, SampleTally } from './data-checks.ts'
import { declaredRanges, resolvesFromModel } from './declared-ranges.ts'
import type { DiagnoseOptions } from './diagnose.ts'
import type { Finding } from './finding.ts'
import { checkForm } from './graph-checks.ts'

/** Elements of an input that are looked at: the samples of the first batches are as good as all. */
const MOST_ELEMENTS = 2 ** 22

/** Looks at what an input is fed while somebody else reads it. */
export class InputWatch {
  readonly #tally = new SampleTally()
  readonly #sums: ReadonlyMap<string, SurveySums>
  #state: 'waiting' | 'watching' | 'done' = 'waiting'

  constructor(model: Model) {
    const names = model.graph.inputs.filter(({ name }) => !model.graph.initializers.has(name))
    this.#sums = new Map(names.map(({ name }) => [name, new SurveySums(false)]))
  }

  /** The same data; the first pass over them is watched. */
  of(data: () => AsyncIterable<TensorMap>): () => AsyncIterable<TensorMap> {
    return () => (this.#state === 'waiting' ? this.#watch(data()) : data())
  }

  async *#watch(batches: AsyncIterable<TensorMap>): AsyncIterable<TensorMap> {
    this.#state = 'watching'
    for await (const feeds of batches) {
      this.#tally.add(feeds)
      for (const [name, sums] of this.#sums) {
        const fed = feeds[name]
        const isNumbers = fed && fed.dtype !== 'string' && fed.dtype !== 'bool'
        if (isNumbers && sums.elements < MOST_ELEMENTS) sums.add(fed)
      }
      yield feeds
    }
    this.#state = 'done'
  }

  /** What there is to say of the samples; nothing while no pass has come to its end. */
  findings(model: Model, preprocess: DiagnoseOptions['preprocess']): Finding[] {
    if (this.#state !== 'done' || this.#tally.samples === 0) return []
    return checkSamples({
      tally: this.#tally,
      inputs: [...this.#sums].map(([name, sums]) => sums.result(name)),
      declared: declaredRanges(model),
      isPreprocessed: preprocess !== undefined || resolvesFromModel(model),
    })
  }
}

/**
 * The cheap part of the doctor: samples, batch normalisations that did not fold, one scale for uneven channels.
 *
 * @param model as it was given; `prepared` for quantization.
 * @returns errors and warnings, no notes.
 */
export function quickFindings(
  model: Model,
  prepared: Model,
  watch: InputWatch,
  options: Pick<DiagnoseOptions, 'activations' | 'weights' | 'perChannel' | 'preprocess' | 'signal'>,
): Finding[] {
  checkAborted(options.signal)
  const { activations = 'uint8', weights = 'int8', perChannel = true, preprocess } = options
  return [
    ...watch.findings(model, preprocess),
    ...checkForm(prepared, { activations, weights, perChannel, foldBatchNorm: true }),
  ].filter(({ severity }) => severity !== 'note')
}

/** A finding as a warning. */
export const findingText = ({ found, advice }: Finding): string => `${found} ${advice}`
