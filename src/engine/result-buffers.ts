/** Memory for results that are read and forgotten, the same for every run. */
import type { Executable, TensorMap } from '../graph/index.ts'
import { sizeOf, Tensor } from '../tensor/index.ts'
import type { ObservedValue } from './observe.ts'

/** Memory that somebody lends. */
export interface LentMemory {
  readonly data: Float32Array
  release(): void
}

/** Results begin at multiples of so many numbers: 64 bytes. */
const ALIGNMENT = 16

/**
 * Runs models whose results are wanted only until the next run.
 *
 * Without it, every run makes its results anew: fresh pages of memory each time, the collection of the old ones, and a
 * copy of each result to where it is counted; 17 of 61 ms per batch of 32 pictures of ResNet-20.
 */
export class ResultBuffers {
  readonly #borrow: ((numbers: number) => LentMemory | undefined) | undefined
  readonly #groups: readonly (readonly string[])[]
  readonly #observed: ReadonlyMap<string, ObservedValue>
  #lent: LentMemory | undefined
  #isUsable: boolean

  /**
   * @param borrow where memory comes from; `undefined`: nowhere, the runtime makes results as it likes.
   * @param groups names of the results of each model. @param observed their shapes, for a first axis that grows with that
   *   of the feeds.
   */
  constructor(
    borrow: ((numbers: number) => LentMemory | undefined) | undefined,
    groups: readonly (readonly string[])[],
    observed: ReadonlyMap<string, ObservedValue>,
  ) {
    this.#borrow = borrow
    this.#groups = groups
    this.#observed = observed
    this.#isUsable = borrow !== undefined
  }

  /** Runs a model. @param whole results that may be overwritten by the next run. */
  async run(
    executable: Executable,
    feeds: TensorMap,
    whole: readonly string[],
  ): Promise<ReturnType<Executable['run']>> {
    const into = this.#isUsable && whole.length > 0 ? this.#tensorsFor(feeds, whole) : undefined
    if (!into) return executable.run(feeds)
    try {
      const results = await executable.run(feeds, executable.outputNames, into)
      // The runtime makes its own all the same.
      if (whole.some((name) => into[name] && results[name]!.data.buffer !== into[name].data.buffer)) this.release()
      return results
    } catch {
      // A shape that is another than expected; or the feeds are wrong, which shows again.
      this.#isUsable = false
      return executable.run(feeds)
    }
  }

  release(): void {
    this.#isUsable = false
    this.#lent?.release()
    this.#lent = undefined
  }

  #tensorsFor(feeds: TensorMap, whole: readonly string[]): Record<string, Tensor> | undefined {
    const growth = this.#growthOf(feeds)
    if (growth === undefined) return undefined
    const tensors: Record<string, Tensor> = {}
    const data = this.#memory(growth)
    if (!data) return undefined
    let at = 0
    for (const name of whole) {
      const shape = this.#grown(name, growth)
      if (!shape) continue
      const size = sizeOf(shape)
      if (at + size > data.length) return undefined
      tensors[name] = Tensor.of(data.subarray(at, at + size), shape)
      at += aligned(size)
    }
    return tensors
  }

  /** The memory, made large enough for any of the models when it is first asked for. */
  #memory(growth: number): Float32Array | undefined {
    if (!this.#lent) {
      const numbers = this.#groups.map((group) =>
        group.reduce((sum, name) => sum + aligned(sizeOf(this.#grown(name, growth) ?? [0])), 0),
      )
      this.#lent = this.#borrow?.(Math.max(...numbers))
      if (!this.#lent) this.#isUsable = false
    }
    return this.#lent?.data
  }

  /** How many times as many rows as observed the feeds have, where all inputs agree and results may follow them. */
  #growthOf(feeds: TensorMap): number | undefined {
    const growths = Object.entries(feeds).map(([name, { shape }]) => {
      const known = this.#observed.get(name)?.shape
      const fits = known?.length === shape.length && known.slice(1).every((extent, i) => extent === shape[i + 1])
      return fits && known[0]! > 0 ? shape[0]! / known[0]! : Number.NaN
    })
    const [growth] = growths
    return growth !== undefined && growths.every((other) => other === growth) ? growth : undefined
  }

  #grown(name: string, growth: number): readonly number[] | undefined {
    const known = this.#observed.get(name)
    if (known?.dtype !== 'float32' || known.shape.length === 0) return undefined
    const rows = known.shape[0]! * growth
    return Number.isInteger(rows) ? [rows, ...known.shape.slice(1)] : undefined
  }
}

function aligned(numbers: number): number {
  return Math.ceil(numbers / ALIGNMENT) * ALIGNMENT
}
