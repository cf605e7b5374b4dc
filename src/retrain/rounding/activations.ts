/** Inner values of a network for all samples, computed from where an earlier pass left off. */
import { checkAborted, fail } from '../../core/index.ts'
import { type Evaluator, type Model, type TensorMap, tensorType, type ValueType } from '../../graph/index.ts'
import type { Tensor } from '../../tensor/index.ts'
import { partBetween } from './cut.ts'

/** A network and the values that its further parts are computed from. */
export class Activations {
  readonly #evaluator: Evaluator
  readonly #data: () => AsyncIterable<TensorMap>
  readonly #budget: number
  readonly #signal: AbortSignal | undefined
  /** Values kept, per batch. */
  #kept: readonly TensorMap[] | undefined
  #names: readonly string[] = []

  /** @param budgetBytes values beyond it are computed anew for every pass, from the last ones that fitted. */
  constructor(
    evaluator: Evaluator,
    data: () => AsyncIterable<TensorMap>,
    budgetBytes: number,
    signal: AbortSignal | undefined,
  ) {
    this.#evaluator = evaluator
    this.#data = data
    this.#budget = budgetBytes
    this.#signal = signal
  }

  /** Calls back with the given values of every batch, in order. @param model may differ from pass to pass. */
  async forEach(model: Model, values: readonly string[], use: (tensors: TensorMap) => void): Promise<void> {
    const first = this.#kept?.[0]
    const from = new Map(this.#names.map((name) => [name, openBatch(first?.[name])]))
    const part = partBetween(
      model,
      from,
      [...new Set(values)].filter((name) => !this.#isGiven(model, name)),
    )
    const session = part.graph.outputs.length > 0 ? await this.#evaluator.load(part) : undefined
    const inputs = part.graph.inputs.map(({ name }) => name)
    try {
      for await (const known of this.#kept ?? this.#data()) {
        checkAborted(this.#signal)
        const feeds = Object.fromEntries(inputs.map((name) => [name, known[name]!]))
        const results = session ? await session.run(feeds) : {}
        use(Object.fromEntries(values.map((name) => [name, results[name] ?? known[name]!])))
      }
    } finally {
      await session?.release()
    }
  }

  #isGiven(model: Model, name: string): boolean {
    return this.#names.includes(name) || model.graph.inputs.some((input) => input.name === name)
  }

  /** Keeps a value that all later ones are computed from, if it fits. */
  async advance(model: Model, values: readonly string[]): Promise<void> {
    const kept: TensorMap[] = []
    let bytes = 0
    await this.forEach(model, values, (tensors) => {
      for (const tensor of Object.values(tensors)) bytes += tensor.byteLength
      if (bytes <= this.#budget) kept.push(tensors)
      else kept.length = 0
    })
    if (bytes > this.#budget) return
    this.#kept = kept
    this.#names = [...values]
  }
}

/**
 * The same data, checked to start with the same batch in every pass.
 *
 * @throws WhittleError while iterating: `INVALID_DATA` when they do not.
 */
export function sameEveryPass(data: () => AsyncIterable<TensorMap>): () => AsyncIterable<TensorMap> {
  let known: number | undefined
  return async function* () {
    let isFirst = true
    for await (const feeds of data()) {
      if (isFirst) {
        const found = fingerprint(feeds)
        known ??= found
        if (found !== known)
          fail(
            'INVALID_DATA',
            'Rounding: data must be the same batches in every pass; the first batch has changed. Shuffle and augment once, before.',
          )
      }
      isFirst = false
      yield feeds
    }
  }
}

/** FNV-1a of shapes and the first bytes of each tensor: enough to tell other samples. */
function fingerprint(feeds: TensorMap): number {
  let hash = 0x811c9dc5
  const add = (byte: number): void => {
    hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
  }
  for (const tensor of Object.values(feeds)) {
    for (const extent of tensor.shape) add(extent & 0xff)
    if (tensor.dtype !== 'string') for (const byte of tensor.bytes.subarray(0, 65536)) add(byte)
  }
  return hash
}

/** The type of a value whose first axis is the batch. */
function openBatch(tensor: Tensor | undefined): ValueType | undefined {
  return tensor && tensorType(tensor.dtype, [null, ...tensor.shape.slice(1)])
}
