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

/** A network in its training form, and where it came from. */
export interface QuantizedNetwork extends FakeQuantized {
  readonly start: QuantizedStart
  /** The network without fake quantization that it was made from. */
  readonly source: Model
}

/** A quantized network. */
export interface DeployedNetwork {
  /** The model to deploy, with QuantizeLinear and DequantizeLinear. */
  readonly model: Model
  /** It again, with what became of the weights. */
  readonly applied: QuantizeApplied
  /** The trained network in float, normalisations folded; its weights are numbers that integers stand for. */
  readonly float: Model
  /** Plan that makes one of the other, with everything that was learned. */
  readonly plan: QuantizePlan
}

/** What {@link finetuneQuantized} returns. */
export interface QuantizedTraining extends DeployedNetwork {
  /** What was trained: standard operators that compute what the deployed model computes. */
  readonly network: Model
  /** How the training went; accuracies are those of the rounded network. */
  readonly training: Finetuned
}

/**
 * Puts fake quantization into a network.
 *
 * Batch normalisations stay and learn on where every output channel of a weight has its own scale, because folding them
 * then leaves the integers as they are; otherwise they are folded first.
 *
 * @throws WhittleError `INVALID_ARGUMENT` for wrong options; `PLAN_MISMATCH` when the plan is not of this model;
 *   `UNSUPPORTED` for asymmetric weights.
 */
export function quantizedNetwork(start: QuantizedStart, quantizers: QuantizerOptions = {}): QuantizedNetwork {
  const { planned, plan, shapes } = start
  const source = unshareBatchNorms(foldsAfterwards(start) ? start.model : planned)
  return { start, source, ...toFakeQuantized(source, planned, plan, shapes, quantizers) }
}

/**
 * Trains a network with fake quantization.
 *
 * @param model the network's own (default), or what an earlier training made of it.
 * @throws WhittleError as `finetuneNetwork`.
 */
export function trainQuantizedNetwork(
  network: QuantizedNetwork,
  options: FinetuneOptions,
  runtime: FinetuneRuntime,
  model = network.model,
): Promise<Finetuned> {
  const { parameters, rules, groups, frozen, source } = network
  const named = (patterns: readonly string[]): string[] => layersToParameters(source, network, patterns)
  return finetuneNetwork(
    model,
    {
      ...options,
      rules,
      parameters,
      freeze: [...named(options.freeze ?? []), ...frozen],
      groups: [...groups, ...(options.groups ?? []).map((group) => ({ ...group, match: named(group.match) }))],
    },
    runtime,
  )
}

/**
 * Makes the quantized model of a trained network: every factor comes from what was trained, nothing is run.
 *
 * @param trained a model that {@link trainQuantizedNetwork} gave, or the network's own, untrained.
 */
export async function deployQuantized(network: QuantizedNetwork, trained: Model): Promise<DeployedNetwork> {
  const fold = async (model: Model): Promise<Model> => (await runPasses(model, [foldBatchNorm])).model
  const learned = lifted(await learnedPlan(network.source, network, trained, network.start.plan, fold))
  const applied = applyQuantize(learned.model, learned.plan)
  return { model: applied.model, applied, float: learned.model, plan: learned.plan }
}

/**
 * Trains a network that rounds as its quantized form will, and quantizes it.
 *
 * @throws WhittleError as {@link quantizedNetwork} and `finetuneNetwork`.
 */
export async function finetuneQuantized(
  start: QuantizedStart,
  options: FinetuneOptions,
  quantizers: QuantizerOptions,
  runtime: FinetuneRuntime,
): Promise<QuantizedTraining> {
  const network = quantizedNetwork(start, quantizers)
  const training = await trainQuantizedNetwork(network, options, runtime)
  return { ...(await deployQuantized(network, training.model)), network: training.model, training }
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
