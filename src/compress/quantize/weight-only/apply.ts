/** Applying a plan for weights alone: computes the integers and edits a clone. Decides nothing. */
import { fail } from '../../../core/index.ts'
import { cloneModel, GraphIndex, liftOpset, type Model, NameGenerator, type Node } from '../../../graph/index.ts'
import { assertPlanFits } from '../../check-plan.ts'
import { findSites } from '../../sites.ts'
import { type Layer, tableLayer, WeightOnlyEmitter } from './emit.ts'
import { applyFloat16, type ValueTypes } from './float16.ts'
import type { WeightOnlyPlan, WeightOnlyStep } from './plan.ts'

/** What became of one step. */
export interface WeightOnlyOutcome {
  readonly step: WeightOnlyStep
  /** ‖W − Ŵ‖ / ‖W‖. */
  readonly relativeError: number
}

/** A network in a format of weights. */
export interface WeightOnlyApplied {
  readonly model: Model
  readonly outcomes: readonly WeightOnlyOutcome[]
}

/** First opset whose DequantizeLinear takes blocks and 4-bit integers. */
const BLOCK_OPSET = 21
/** First opset with DynamicQuantizeLinear; MatMulInteger and 8-bit DequantizeLinear came before. */
const DYNAMIC_OPSET = 11

/**
 * Applies a plan.
 *
 * @param types element types of all values, for formats with float16; see `observeShapes`.
 * @throws WhittleError `PLAN_MISMATCH` when the plan was made for another model; `INVALID_ARGUMENT` when types are
 *   missing; `NOT_FINITE`; `UNSUPPORTED` when the model's opset cannot be lifted.
 */
export function applyWeightOnly(model: Model, plan: WeightOnlyPlan, types?: ValueTypes): WeightOnlyApplied {
  assertPlanFits(
    model,
    plan,
    { method: 'weight-only', version: 1 },
    plan.steps.map(({ node }) => node),
  )
  let result = lifted(cloneModel(model), plan)
  const { graph } = result
  const names = new NameGenerator(graph)
  const emitter = new WeightOnlyEmitter(graph, names)
  const layers = layersOf(result)
  const outcomes: WeightOnlyOutcome[] = []
  const allTypes = new Map(types)
  const replaced = new Map<Node, readonly Node[]>()
  for (const step of plan.steps) {
    const layer =
      layers.get(step.node) ??
      fail('PLAN_MISMATCH', `The plan names layer '${step.node}', which the model does not have.`)
    const { nodes, relativeError, floats } = emitter.emit(step, layer)
    replaced.set(layer.node, nodes)
    outcomes.push({ step, relativeError })
    for (const name of floats) allTypes.set(name, { dtype: 'float32' })
  }
  graph.nodes = graph.nodes.flatMap((node) => replaced.get(node) ?? [node])
  dropUnused(result, plan)
  if (plan.steps.some(({ form }) => form !== 'dynamic' && form !== 'gather-integers' && form !== 'qdq-blocks'))
    if (!result.opsets.has('com.microsoft')) result.opsets.set('com.microsoft', 1)
  if (plan.float16) {
    if (!types) fail('INVALID_ARGUMENT', `Format ${plan.format}: needs the element types of all values; give types.`)
    const islands = new Set(plan.float16.islands.map(({ node }) => node))
    result = applyFloat16(result, { types: allTypes, islands, keepIo: plan.float16.keepIo })
  }
  return { model: result, outcomes }
}

function lifted(model: Model, { steps }: WeightOnlyPlan): Model {
  const opset = model.opsets.get('') ?? 1
  if (steps.some(({ form }) => form === 'qdq-blocks') && opset < BLOCK_OPSET) return liftOpset(model, BLOCK_OPSET)
  const needsIntegers = steps.some(({ form }) => form === 'dynamic' || form === 'gather-integers')
  return needsIntegers && opset < DYNAMIC_OPSET ? liftOpset(model, 17) : model
}

/** Linear layers and tables by their node's name. */
function layersOf(model: Model): Map<string, Layer> {
  const layers = new Map<string, Layer>()
  for (const { name, node, weight, weightIsOutputFirst, biasName, kind } of findSites(model).sites)
    if (kind === 'linear') layers.set(name, { node, weight, outputFirst: weightIsOutputFirst, biasName })
  const index = new GraphIndex(model.graph)
  for (const node of model.graph.nodes) {
    const table = node.opType === 'Gather' && node.domain === '' ? index.constant(node.inputs[0] ?? '') : undefined
    if (table?.shape.length === 2) layers.set(node.name, tableLayer(node, table))
  }
  return layers
}

function dropUnused(model: Model, { steps }: WeightOnlyPlan): void {
  const { graph } = model
  const index = new GraphIndex(graph)
  for (const { weight } of steps)
    if (index.users(weight).length === 0 && !index.isOutput(weight)) {
      graph.initializers.delete(weight)
      graph.initializerNotes.delete(weight)
      graph.valueInfos.delete(weight)
    }
}
