/** Instances of the WebAssembly modules this folder carries, with memory to work in. */

/** One instance of a module and its memory. */
export interface WasmWorkspace {
  /** The module's functions, as declared where they are used. */
  readonly exports: Record<string, unknown>
  readonly memory: WebAssembly.Memory
  /** Whether the memory serves later calls too: then nothing may keep a view on it. */
  readonly kept: boolean
}

const PAGE = 65536
/** Numbers that a kept memory holds: a matrix of 1,100 rows, 10 MB. */
const KEPT = 1.25 * 1024 * 1024

/** Numbers that fit into WebAssembly's 4 GiB. */
export const MOST_NUMBERS = (65536 * PAGE) / 8

/**
 * A module, compiled when it is first used.
 *
 * Engines reserve gigabytes of addresses for every memory, so that the memory of small jobs is kept and reused; large
 * jobs, and small ones that overlap, get their own.
 */
export class WasmKernel {
  readonly #base64: string
  #module: Promise<WebAssembly.Module> | undefined
  #kept: WasmWorkspace | undefined
  #busy = false

  /** @param base64 the module's bytes. */
  constructor(base64: string) {
    this.#base64 = base64
  }

  /** Runs `work` with a workspace that holds at least `numbers` float64 numbers. */
  async use<R>(numbers: number, work: (workspace: WasmWorkspace) => R | Promise<R>): Promise<R> {
    this.#module ??= WebAssembly.compile(Uint8Array.from(atob(this.#base64), (character) => character.charCodeAt(0)))
    const module = await this.#module
    if (numbers > KEPT || this.#busy) return work(instantiate(module, numbers, false))
    this.#kept ??= instantiate(module, KEPT, true)
    this.#busy = true
    try {
      return await work(this.#kept)
    } finally {
      this.#busy = false
    }
  }
}

function instantiate(module: WebAssembly.Module, numbers: number, kept: boolean): WasmWorkspace {
  const memory = new WebAssembly.Memory({ initial: Math.ceil((numbers * 8) / PAGE) })
  return { memory, exports: new WebAssembly.Instance(module, { env: { memory } }).exports, kept }
}

/** Arrays of the given lengths, one after the other from address 0: views, and their addresses in bytes. */
export function layOut(
  memory: WebAssembly.Memory,
  lengths: readonly number[],
): { readonly views: readonly Float64Array[]; readonly addresses: readonly number[] } {
  const addresses: number[] = []
  let next = 0
  for (const length of lengths) {
    addresses.push(next)
    next += length * 8
  }
  return { views: lengths.map((length, i) => new Float64Array(memory.buffer, addresses[i]!, length)), addresses }
}
