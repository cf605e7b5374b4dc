/** One layer as a unit of learned rounding: rows times its weight, its bias and the activation function behind it. */
import { Emitter, type Typed } from '../../autodiff/index.ts'
import type { Random } from '../../core/index.ts'
import {
  type AttributeInput,
  createGraph,
  createModel,
  float,
  GraphIndex,
  type Model,
  type Node,
  tensorType,
} from '../../graph/index.ts'
import { Tensor, toFloat32 } from '../../tensor/index.ts'
import type { UnitData } from './learn.ts'
import type { LinearMap } from './linear-map.ts'
import type { RoundingUnit, SoftWeight } from './rounding-graph.ts'
import { groupColumns, type LayerRows } from './rows.ts'
import { lowerLevels, type WeightGrid } from './weight-grid.ts'

/** Elementwise functions that are taken into the loss; their inputs beside the first are constants of one element. */
const ACTIVATIONS: ReadonlySet<string> = new Set(
  'Clip Elu Gelu HardSigmoid HardSwish LeakyRelu PRelu Relu Selu Sigmoid Softplus Softsign Tanh'.split(' '),
)

/** The activation function that alone uses a layer's output, if there is one that rows can go through. */
export function activationBehind(model: Model, value: string): Node | undefined {
  const index = new GraphIndex(model.graph)
  const [user, ...others] = index.users(value)
  if (!user || others.length > 0 || index.isOutput(value) || user.inputs[0] !== value) return undefined
  if (user.domain !== '' || !ACTIVATIONS.has(user.opType)) return undefined
  const settings = user.inputs.slice(1).filter((name) => name !== '')
  return settings.every((name) => index.constant(name)?.size === 1) ? user : undefined
}

/** Rows of a step of learned rounding, unless there are fewer. */
const ROWS_PER_STEP = 1024

/** A layer's weight as a soft weight `[group, outputs of a group, row length]`. */
export function softWeight(map: LinearMap, grid: WeightGrid, name = 'weight'): SoftWeight {
  return {
    name,
    shape: map.group === 1 ? [map.groupOutputs, map.rowLength] : [map.group, map.groupOutputs, map.rowLength],
    lower: Float32Array.from(lowerLevels(grid)),
    step: Float32Array.from(grid.step),
    least: Float32Array.from(grid.least),
    most: Float32Array.from(grid.most),
  }
}

/**
 * The unit of a layer.
 *
 * @param rows rows of one step.
 * @param activation node of `model` (opset 18 or later) behind it; its constants are read there.
 */
export function rowUnit(
  map: LinearMap,
  grid: WeightGrid,
  bias: Float32Array,
  rows: number,
  activation: Node | undefined,
  model: Model,
): RoundingUnit {
  const { group, groupOutputs, rowLength } = map
  const outputs = group * groupOutputs
  const weight = softWeight(map, grid)
  const graph = createGraph('rounding')
  const x: Typed = { dtype: 'float32', shape: group === 1 ? [rows, rowLength] : [group, rows, rowLength] }
  const types = new Map<string, Typed>([
    ['x', x],
    [weight.name, { dtype: 'float32', shape: weight.shape }],
  ])
  graph.inputs.push({ name: 'x', type: tensorType('float32', x.shape) })
  graph.initializers.set(weight.name, Tensor.of(new Float32Array(outputs * rowLength), weight.shape))
  const emit = new Emitter(graph, types)
  let y = emit.matmul('x', emit.swapLast(weight.name))
  if (group > 1) y = emit.reshape(emit.transpose(y, [1, 0, 2]), [rows, outputs])
  y = emit.add(y, emit.tensor(Tensor.of(bias, [outputs])))
  if (activation) y = emitActivation(emit, activation, model, y)
  graph.outputs.push({ name: y, type: tensorType('float32', [rows, outputs]) })
  return {
    model: createModel(graph, 18),
    types: emit.types,
    weights: [weight],
    rows,
    ...(activation ? { targetOf: (emit, target) => emitActivation(emit, activation, model, target) } : {}),
  }
}

function emitActivation(emit: Emitter, node: Node, model: Model, x: string): string {
  const index = new GraphIndex(model.graph)
  const settings = node.inputs
    .slice(1)
    .map((name) => (name === '' ? '' : emit.tensor(Tensor.of(toFloat32(index.constant(name)!), []))))
  return emit.op(node.opType, [x, ...settings], emit.shape(x), attributesOf(node))
}

/** Attributes of activation functions are numbers and strings. */
function attributesOf(node: Node): Record<string, AttributeInput> {
  const attributes: Record<string, AttributeInput> = {}
  for (const [name, attribute] of node.attributes) {
    if (attribute.kind === 'float') attributes[name] = float(attribute.value)
    else if (attribute.kind === 'int') attributes[name] = Number(attribute.value)
    else if (attribute.kind === 'string') attributes[name] = new TextDecoder().decode(attribute.value)
  }
  return attributes
}

/** Rows in random order in batches; those that do not fill one are left out. */
export function rowBatches(map: LinearMap, rows: LayerRows, random: Random): { data: UnitData; rows: number } {
  const { group, rowLength, groupOutputs } = map
  const size = Math.min(ROWS_PER_STEP, rows.count)
  const batches = Math.floor(rows.count / size)
  const order = random.shuffle(Int32Array.from({ length: rows.count }, (_, i) => i)).subarray(0, batches * size)
  const outputs = group * groupOutputs
  const width = group * rowLength
  const target = new Float32Array(order.length * outputs)
  const inputs = new Float32Array(order.length * width)
  for (const [to, from] of order.entries()) {
    target.set(rows.outputs.subarray(from * outputs, (from + 1) * outputs), to * outputs)
    inputs.set(rows.inputs.subarray(from * width, (from + 1) * width), to * width)
  }
  const shape = group === 1 ? [batches, size, rowLength] : [batches, group, size, rowLength]
  const x = group === 1 ? inputs : grouped(inputs, batches, size, group)
  return {
    rows: size,
    data: {
      inputs: new Map([['x', Tensor.of(x, shape)]]),
      target: Tensor.of(target, [batches, size, outputs]),
      batches,
    },
  }
}

/** `[batches, rows, group · length]` as `[batches, group, rows, length]`. */
function grouped(rows: Float32Array, batches: number, size: number, group: number): Float32Array {
  const out = new Float32Array(rows.length)
  const each = rows.length / batches
  for (let batch = 0; batch < batches; batch++) {
    const part = rows.subarray(batch * each, (batch + 1) * each)
    for (let g = 0; g < group; g++) out.set(groupColumns(part, size, g, group), batch * each + g * (each / group))
  }
  return out
}
