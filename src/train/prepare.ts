/** Brings a network into the form that training steps are built from. */
import type { Typed } from '../autodiff/index.ts'
import { fail, messageOf, WhittleError } from '../core/index.ts'
import {
  assertModel,
  cloneModel,
  constantsToInitializers,
  ensureUniqueNames,
  freezeInitializers,
  liftOpset,
  type Model,
  removeUnused,
  runPasses,
  sortNodes,
  tensorType,
} from '../graph/index.ts'
import type { Tensor } from '../tensor/index.ts'
import { unshareBatchNorms } from './parameters.ts'

/** Asks the engine for the element types and shapes of a model's values; `observeShapes` bound to an evaluator is one. */
export type ObserveTypes = (
  model: Model,
  options: { readonly inputShapes?: Readonly<Record<string, readonly number[]>>; readonly batch: number },
) => Promise<ReadonlyMap<string, Typed>>

/** A network ready to be trained with one size of batch. */
export interface PreparedNetwork {
  readonly model: Model
  readonly types: ReadonlyMap<string, Typed>
}

/** Options of {@link prepareNetwork}. */
export interface PrepareOptions {
  /** Samples per batch. */
  readonly batch: number
  /** Shape of one sample of each input, without the batch axis, where the model leaves axes open. */
  readonly sampleShapes?: readonly (readonly number[] | undefined)[] | undefined
}

/**
 * A clone with constants as initializers, of opset 18 or later, whose inputs have the batch's shapes. Names of weights
 * are those of the model.
 *
 * @throws WhittleError `INVALID_MODEL`; `UNSUPPORTED` when the model cannot be lifted or has a fixed batch that is built
 *   into it.
 */
export async function prepareNetwork(
  model: Model,
  observe: ObserveTypes,
  { batch, sampleShapes = [] }: PrepareOptions,
): Promise<PreparedNetwork> {
  const clone = cloneModel(model)
  ensureUniqueNames(clone)
  sortNodes(clone.graph)
  assertModel(clone)
  const passes = [constantsToInitializers, freezeInitializers, removeUnused]
  const prepared = liftOpset((await runPasses(clone, passes)).model, 18)
  const { graph } = prepared
  let fixed: number | undefined
  graph.inputs = graph.inputs.map(({ name, type }, at) => {
    if (type?.kind !== 'tensor')
      fail('UNSUPPORTED', `Input '${name}': must be a tensor to be trained with; it is another kind of value.`)
    const sample = sampleShapes[at]
    const declared = type.shape ?? (sample && [null, ...sample])
    if (!declared || declared.length === 0) return { name, type }
    if (typeof declared[0] === 'number' && declared[0] > 0 && declared[0] !== batch) fixed = declared[0]
    const fits = sample?.length === declared.length - 1
    const open = (extent: (typeof declared)[number]): boolean => typeof extent !== 'number' || extent <= 0
    const shape = declared.map((extent, axis) =>
      axis === 0 ? batch : open(extent) && fits ? sample[axis - 1]! : extent,
    )
    return { name, type: tensorType(type.dtype ?? 'float32', shape) }
  })
  graph.valueInfos.clear()
  graph.outputs = graph.outputs.map(({ name }) => ({ name, type: undefined }))
  const builtIn = (reason: string, cause?: unknown): never =>
    fail(
      'UNSUPPORTED',
      `Model '${model.graph.name}': its batch is fixed at ${fixed} and built into its nodes, so that it cannot be trained with batch ${batch} (${reason}). Train with batch ${fixed}, or export it with an open batch axis.`,
      { cause },
    )
  let types: ReadonlyMap<string, Typed>
  try {
    types = await observe(prepared, { batch })
  } catch (error) {
    if (fixed === undefined || !(error instanceof WhittleError && error.code === 'ENGINE')) throw error
    return builtIn(messageOf(error), error)
  }
  const [output] = graph.outputs
  const shape = output && types.get(output.name)?.shape
  if (fixed !== undefined && shape && shape[0] !== batch) builtIn(`output '${output.name}' stays [${shape.join(', ')}]`)
  return { model: prepared, types }
}

/**
 * The model with new weights: same nodes, same names. Batch normalisations that shared constants have their own.
 *
 * @param weights by name; initializers and outputs of Constant nodes of the main graph.
 */
export function withWeights(model: Model, weights: ReadonlyMap<string, Tensor>): Model {
  const clone = unshareBatchNorms(model)
  const { initializers, nodes } = clone.graph
  const left = new Map(weights)
  for (const [name, tensor] of weights)
    if (initializers.has(name)) {
      initializers.set(name, tensor)
      left.delete(name)
    }
  for (const node of nodes) {
    const tensor = node.opType === 'Constant' ? left.get(node.outputs[0] ?? '') : undefined
    if (!tensor) continue
    node.attributes = new Map([['value', { kind: 'tensor', value: tensor, name: '' }]])
    left.delete(node.outputs[0]!)
  }
  const [missing] = left.keys()
  if (missing !== undefined) fail('INTERNAL', `Internal: weight '${missing}' has no place in the model.`)
  return clone
}
