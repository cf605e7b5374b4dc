/** Fetching many inner values without holding them all at once. */
import type { Evaluator, Executable, Model, TensorMap } from '../graph/index.ts'
import { byteLengthOf, sizeOf, type Tensor } from '../tensor/index.ts'
import type { ObservedValue } from './observe.ts'
import { cutToOutputs } from './outputs.ts'

/** Bytes of inner values that one run may bring. */
export const DEFAULT_RUN_BYTES = 256 * 2 ** 20

/** Bytes that a value takes when it is fetched. */
export function fetchedBytes({ dtype, shape }: ObservedValue): number {
  return byteLengthOf(dtype, sizeOf(shape))
}

/** Values in groups, in their order, each group within the limit (or one value that is larger). */
export function groupBySize(
  names: readonly string[],
  observed: ReadonlyMap<string, ObservedValue>,
  limitBytes: number,
): string[][] {
  const groups: string[][] = []
  let room = 0
  for (const name of names) {
    const value = observed.get(name)
    const bytes = value ? fetchedBytes(value) : 0
    if (groups.length === 0 || bytes > room) {
      groups.push([])
      room = limitBytes
    }
    groups[groups.length - 1]!.push(name)
    room -= bytes
  }
  return groups
}

/**
 * Loads a model as it stands, node by node. Where the runtime cannot, it may rewrite as little as possible: without
 * any rewriting, version 1.30 refuses some valid float16 models because of the Cast nodes it inserts itself.
 *
 * @throws WhittleError `ENGINE` when it refuses the model either way.
 */
export async function loadUnoptimized(evaluator: Evaluator, model: Model): Promise<Executable> {
  try {
    return await evaluator.load(model, { optimization: 'disabled' })
  } catch {
    return evaluator.load(model, { optimization: 'basic' })
  }
}

/** Sessions that each compute one group of inner values, and no more of the network than these need. */
export class InnerValues {
  readonly groups: readonly (readonly string[])[]
  readonly #executables: readonly Executable[]

  private constructor(groups: readonly (readonly string[])[], executables: readonly Executable[]) {
    this.groups = groups
    this.#executables = executables
  }

  /** Loads one session per group. @param optimized default true; false runs the model node by node. */
  static async load(
    evaluator: Evaluator,
    model: Model,
    groups: readonly (readonly string[])[],
    optimized = true,
  ): Promise<InnerValues> {
    const executables: Executable[] = []
    try {
      for (const names of groups) {
        const part = cutToOutputs(model, names)
        executables.push(await (optimized ? evaluator.load(part) : loadUnoptimized(evaluator, part)))
      }
    } catch (error) {
      for (const executable of executables) await executable.release()
      throw error
    }
    return new InnerValues(groups, executables)
  }

  /** Runs one group. */
  async run(group: number, feeds: TensorMap): Promise<Record<string, Tensor>> {
    return this.#executables[group]!.run(feeds)
  }

  async release(): Promise<void> {
    for (const executable of this.#executables) await executable.release()
  }
}
