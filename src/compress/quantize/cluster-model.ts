/** Weights of a model as codebooks: a table of levels, an index per number, and a Gather that puts them together. */
import { fail, matchesAny } from '../../core/index.ts'
import { cloneModel, createNode, type Graph, GraphIndex, type Model, NameGenerator } from '../../graph/index.ts'
import type { Skip } from '../method.ts'
import { findSites } from '../sites.ts'
import { clusterWeight } from './cluster.ts'

/** Options of {@link clusterModel}. */
export interface ClusterOptions {
  /** Levels per weight, 2 … 256; default 32, AMCT's; 16 is its other choice. */
  readonly levels?: number | undefined
  /** Only layers whose names match one of these patterns (`*`, `?`); absent or empty: all. */
  readonly only?: readonly string[] | undefined
  /** No layers whose names match one of these. */
  readonly skip?: readonly string[] | undefined
}

/** One weight that became a codebook; JSON. */
export type ClusteredWeight = {
  /** Names of the layers that use it. */
  readonly layers: readonly string[]
  readonly weight: string
  readonly levels: number
  /** ‖W − Ŵ‖ / ‖W‖. */
  readonly relativeError: number
  readonly bytes: { readonly before: number; readonly after: number }
}

/** What {@link clusterModel} did; JSON. */
export type ClusterRecord = { readonly weights: readonly ClusteredWeight[]; readonly skips: readonly Skip[] }

/** Gather is there from the first operator set, Cast with a type as number from this one on. */
const LEAST_OPSET = 6
/** ONNX's code of int32, the type that indices are cast to. */
const INT32 = 6

/**
 * Stores the weights of a model as levels and one byte per number.
 *
 * @returns a clone; runtimes that fold constants compute the float weights when they load it.
 * @throws WhittleError `INVALID_ARGUMENT` for another number of levels, `NOT_FINITE` for weights with NaN,
 *   `UNSUPPORTED` below opset 6.
 */
export function clusterModel(model: Model, options: ClusterOptions = {}): { model: Model; record: ClusterRecord } {
  const { levels = 32, only = [], skip = [] } = options
  const opset = model.opsets.get('') ?? 1
  if (opset < LEAST_OPSET)
    fail('UNSUPPORTED', `Clustering: codebooks need opset ${LEAST_OPSET}; the model has ${opset}. Lift it first.`)
  const clone = cloneModel(model)
  const index = new GraphIndex(clone.graph)
  const found = findSites(clone)
  const layers = new Map<string, string[]>()
  for (const { name, weightName } of found.sites) {
    if ((only.length > 0 && !matchesAny(name, only)) || matchesAny(name, skip)) continue
    layers.set(weightName, [...(layers.get(weightName) ?? []), name])
  }
  const names = new NameGenerator(clone.graph)
  const weights: ClusteredWeight[] = []
  const skips: Skip[] = [...found.skips]
  const nodes: Graph['nodes'] = []
  for (const [weight, users] of layers) {
    const tensor = clone.graph.initializers.get(weight)
    if (!tensor || index.isOutput(weight)) {
      skips.push(...users.map((name) => ({ name, reason: `Its weight '${weight}' is not stored as an initializer.` })))
      continue
    }
    const codebook = clusterWeight(tensor, levels)
    const after = codebook.levels.byteLength + codebook.indices.byteLength
    if (after >= tensor.byteLength) {
      skips.push(...users.map((name) => ({ name, reason: 'A codebook would take more bytes than its weight.' })))
      continue
    }
    const [table, stored, cast] = ['levels', 'indices', 'indices_int32'].map((end) => names.fresh(`${weight}_${end}`))
    clone.graph.initializers.delete(weight)
    clone.graph.initializerNotes.delete(weight)
    clone.graph.initializers.set(table!, codebook.levels)
    clone.graph.initializers.set(stored!, codebook.indices)
    nodes.push(
      createNode('Cast', [stored!], [cast!], { to: INT32 }, names.fresh(`${weight}_Cast`)),
      createNode('Gather', [table!, cast!], [weight], { axis: 0 }, names.fresh(`${weight}_Gather`)),
    )
    weights.push({
      layers: users,
      weight,
      levels: codebook.levels.size,
      relativeError: codebook.relativeError,
      bytes: { before: tensor.byteLength, after },
    })
  }
  clone.graph.nodes.unshift(...nodes)
  return { model: clone, record: { weights, skips } }
}
