/** Quantization-aware training: a plan, a network with fake quantization trained on data, and the model to deploy. */
import { applyQuantize, opsetOf, type QuantizeApplied, type QuantizePlan } from '../../compress/index.ts'
import { matchesAny } from '../../core/index.ts'
import {
  foldBatchNorm,
  GraphIndex,
  liftOpset,
  type Model,
  modelHash,
  runPasses,
  weightFactsOf,
} from '../../graph/index.ts'
import {
  type Finetuned,
  type FinetuneOptions,
  type FinetuneRuntime,
  finetuneNetwork,
  unshareBatchNorms,
} from '../../train/index.ts'
import { type LearnedPlan, learnedPlan } from './finish.ts'
import { type FakeQuantized, toFakeQuantized } from './network.ts'
import type { QuantizerOptions } from './options.ts'

/** What {@link finetuneQuantized} starts from. */
export interface QuantizedStart {
  /** The network, weights as initializers, normalisations where they are. */
  readonly model: Model
  /** The same with normalisations folded, by `foldBatchNorm`: what the plan was made for. */
  readonly planned: Model
  readonly plan: QuantizePlan
  /** Shapes of the values of `planned`. */
  readonly shapes: ReadonlyMap<string, { readonly shape: readonly number[] }>
}

/** What {@link finetuneQuantized} returns. */
export interface QuantizedTraining {
  /** The model to deploy, with QuantizeLinear and DequantizeLinear. */
  readonly model: Model
  /** It again, with what became of the weights. */
  readonly applied: QuantizeApplied
  /** The trained network in float, normalisations folded; its weights are numbers that integers stand for. */
  readonly float: Model
  /** Plan that makes one of the other, with everything that was learned. */
  readonly plan: QuantizePlan
  /** What was trained: standard operators that compute what the deployed model computes. */
  readonly network: Model
  /** How the training went; accuracies are those of the rounded network. */
  readonly training: Finetuned
}

/**
 * Trains a network that rounds as its quantized form will.
 *
 * Batch normalisations learn on as usual where every output channel of a weight has its own scale, because folding them
 * then leaves the integers as they are; otherwise they are folded first.
 *
 * @throws WhittleError as `finetuneNetwork`; `PLAN_MISMATCH` when the plan is not of this model; `UNSUPPORTED` for
 *   asymmetric weights.
 */
export async function finetuneQuantized(
  start: QuantizedStart,
  options: FinetuneOptions,
  quantizers: QuantizerOptions,
  runtime: FinetuneRuntime,
): Promise<QuantizedTraining> {
  const { planned, plan, shapes } = start
  const source = unshareBatchNorms(foldsAfterwards(start) ? start.model : planned)
  const network = toFakeQuantized(source, planned, plan, shapes, quantizers)
  const { parameters, rules, groups } = network
  const training = await finetuneNetwork(
    network.model,
    {
      ...options,
      rules,
      parameters,
      freeze: [...layersToParameters(source, network, options.freeze ?? []), ...network.frozen],
      groups: [
        ...groups,
        ...(options.groups ?? []).map((group) => ({
          ...group,
          match: layersToParameters(source, network, group.match),
        })),
      ],
    },
    runtime,
  )
  const fold = async (model: Model): Promise<Model> => (await runPasses(model, [foldBatchNorm])).model
  const learned = lifted(await learnedPlan(source, network, training.model, plan, fold))
  const applied = applyQuantize(learned.model, learned.plan)
  return { model: applied.model, applied, float: learned.model, plan: learned.plan, network: training.model, training }
}

/** The model in the first opset, from its own on, that has the plan's types. */
function lifted({ model, plan }: LearnedPlan): LearnedPlan {
  const used = [
    ...plan.activations.map(({ quantization }) => quantization),
    ...plan.steps.flatMap(({ weight, constants = [] }) =>
      [...(weight ? [weight] : []), ...constants].map((one) => one.quantization),
    ),
  ]
  const needed = Math.max(...used.map(opsetOf))
  if ((model.opsets.get('') ?? 1) >= needed) return { model, plan }
  const higher = liftOpset(model, needed)
  return { model: higher, plan: { ...plan, model: modelHash(higher) } }
}

/** Whether every weight that a normalisation is folded into has a scale for each of the channels that it scales. */
function foldsAfterwards({ model, planned, plan }: QuantizedStart): boolean {
  const before = new GraphIndex(model.graph)
  const after = new GraphIndex(planned.graph)
  return plan.steps.every(({ node: name, weight }) => {
    const [from, to] = [before.node(name), after.node(name)]
    if (!weight || !from || !to) return true
    const at = weightFactsOf(to)?.weightInput ?? 1
    if (before.constant(from.inputs[at]!) === after.constant(to.inputs[at]!)) return true
    const group = to.attributes.get('group')
    const isGrouped = to.opType === 'ConvTranspose' && group?.kind === 'int' && group.value > 1n
    return weight.quantization.axis !== null && !isGrouped
  })
}

/** Patterns of layers as patterns of their parameters too: what reads a weight now is its quantizer. */
function layersToParameters(source: Model, { weights }: FakeQuantized, patterns: readonly string[]): string[] {
  const { graph } = source
  const matching = graph.nodes.filter(({ name }) => matchesAny(name, patterns))
  const constants = matching.flatMap(({ inputs }) => inputs.filter((name) => graph.initializers.has(name)))
  const named = new Set(matching.map(({ name }) => name))
  const scales = weights.flatMap(({ node, scale }) => (named.has(node) && scale !== undefined ? [scale] : []))
  return [...new Set([...patterns, ...constants, ...scales])]
}
