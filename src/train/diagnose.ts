/** Finds where a number first stopped being finite, in one batch's forward and backward pass. */
import {
  cloneGraph,
  createNode,
  type Evaluator,
  type Graph,
  GraphIndex,
  type Model,
  type TensorMap,
  usedNames,
} from '../graph/index.ts'
import { Tensor, toFloat32 } from '../tensor/index.ts'
import type { PreparedSamples } from './samples.ts'
import type { StepGraph } from './step-graph.ts'
import { rowsOf, type TrainingState, type TrainingStep } from './training-step.ts'

/** Where it was, in words and as a layer's name. */
export interface Diagnosis {
  readonly text: string
  readonly layer: string | null
  /** Whether it was in the samples already. */
  readonly inData?: boolean
}

/**
 * Repeats steps up to the one that went wrong, and finds the first value in it that is not finite.
 *
 * @param network the network that is trained, for the names of its layers.
 * @param run the state before the run, its samples, and the learning rates of the steps that went well.
 */
export async function explainNonFinite(
  evaluator: Evaluator,
  training: TrainingStep,
  network: Graph,
  run: { readonly state: TrainingState; readonly samples: PreparedSamples; readonly rates: readonly number[] },
): Promise<Diagnosis> {
  const { graph, samplesPerStep } = training
  const part = (start: number, count: number): PreparedSamples => ({
    inputs: run.samples.inputs.map((tensor) => rowsOf(tensor, start, count)),
    targets: run.samples.targets && rowsOf(run.samples.targets, start, count),
  })
  training.restore(run.state)
  const good = run.rates.length
  if (good > 0) {
    const { inputs, targets } = part(0, good * samplesPerStep)
    await training.steps({ inputs, labels: targets }, run.rates)
  }
  // With accumulation the first batch that is not finite counts.
  for (let batch = 0; batch < graph.accumulate; batch++) {
    const { inputs, targets } = part(good * samplesPerStep + batch * graph.batch, graph.batch)
    const feeds: Record<string, Tensor> = { ...(await training.teach(inputs)) }
    for (const [index, name] of graph.inputs.entries()) feeds[name] = inputs[index]!
    if (graph.targets !== undefined) feeds[graph.targets] = targets!
    for (const [name, tensor] of training.weights()) feeds[name] = tensor
    const used = graph.pass.graph.inputs.map(({ name }) => [name, feeds[name]!] as const)
    const found = await findNonFinite(evaluator, graph, network, Object.fromEntries(used))
    if (found) return found
  }
  return { text: 'the sum of the squares of all gradients', layer: null }
}

/**
 * Runs a pass with a flag on every value.
 *
 * @param feeds of `graph.pass`.
 * @param network the network that is trained, for the names of its layers.
 * @returns `undefined` when everything is finite.
 */
async function findNonFinite(
  evaluator: Evaluator,
  graph: StepGraph,
  network: Graph,
  feeds: TensorMap,
): Promise<Diagnosis | undefined> {
  const { model, values } = flagged(graph)
  const executable = await evaluator.load(model, { optimization: 'disabled' })
  let flags: Float32Array
  try {
    flags = toFloat32((await executable.run(feeds))[FLAGS]!)
  } finally {
    await executable.release()
  }
  const first = values.find((_, at) => !Number.isFinite(flags[at]!))
  if (first === undefined) return undefined
  const bad = new Set(values.filter((_, at) => !Number.isFinite(flags[at]!)))
  return describe(first, bad, graph, network)
}

const FLAGS = 'diagnosis/flags'

/** The pass with one output: for every float32 value, in topological order, 0 or NaN. */
function flagged({ pass, types }: StepGraph): { model: Model; values: readonly string[] } {
  const graph = cloneGraph(pass.graph)
  const values = [...graph.inputs.map(({ name }) => name), ...graph.nodes.flatMap(({ outputs }) => outputs)].filter(
    (name) => types.get(name)?.dtype === 'float32',
  )
  graph.initializers.set('diagnosis/zero', Tensor.of(Float32Array.of(0), []))
  graph.initializers.set('diagnosis/one', Tensor.int64([1]))
  const parts = values.map((name, at) => {
    const part = `diagnosis/${at}`
    // 0 · x is NaN for NaN and infinity, and their sum is NaN then.
    graph.nodes.push(
      createNode('Mul', [name, 'diagnosis/zero'], [`${part}/zeros`], {}, `${part}/zeros`),
      createNode('ReduceSum', [`${part}/zeros`], [`${part}/sum`], { keepdims: 0 }, `${part}/sum`),
      createNode('Reshape', [`${part}/sum`, 'diagnosis/one'], [part], {}, part),
    )
    return part
  })
  graph.nodes.push(createNode('Concat', parts, [FLAGS], { axis: 0 }, FLAGS))
  graph.outputs = [{ name: FLAGS, type: undefined }]
  return { model: { ...pass, graph }, values }
}

function describe(first: string, bad: ReadonlySet<string>, graph: StepGraph, network: Graph): Diagnosis {
  const index = new GraphIndex(network)
  const layerOf = (parameter: string): string | undefined => index.users(parameter)[0]?.name
  const named = (parameter: string): Diagnosis => {
    const layer = layerOf(parameter)
    const node = layer === undefined ? undefined : index.node(layer)
    return { text: `'${parameter}'${node ? ` of ${node.opType} '${node.name}'` : ''}`, layer: layer ?? null }
  }
  if (graph.inputs.includes(first) || first === graph.targets)
    return { text: `the input '${first}': the data or their preprocessing are not finite`, layer: null, inData: true }
  if (graph.gradients.has(first) || index.constant(first)) {
    const { text, layer } = named(first)
    return { text: `${text}, after the update of the step before`, layer }
  }
  const producer = graph.pass.graph.nodes.find((node) => node.outputs.includes(first))
  const own = network.nodes.find(
    (node) => node.outputs.includes(first) || (producer !== undefined && node.name === producer.name),
  )
  if (own) return { text: `the output of ${own.opType} '${own.name}'`, layer: own.name }
  // In the backward pass: the parameter whose gradient is reached first from there.
  const reached = new Set([first])
  for (const node of graph.pass.graph.nodes)
    if (usedNames(node).some((name) => reached.has(name))) for (const name of node.outputs) reached.add(name)
  if (reached.has(graph.loss)) return { text: 'the loss, though all outputs of the network are finite', layer: null }
  for (const node of graph.pass.graph.nodes)
    for (const [parameter, value] of graph.gradients)
      if (node.outputs.includes(value) && reached.has(value) && bad.has(value)) {
        const { text, layer } = named(parameter)
        return { text: `the gradient of ${text}`, layer }
      }
  return { text: `the value '${first}' of the backward pass`, layer: null }
}
