/** What a network consists of, what it costs, and what each method could do with its layers. */
import {
  type Cost,
  FORM_NAMES,
  type FormName,
  findQuantizable,
  findSites,
  hasFloat16,
  isQuantized,
  normalizeLinear,
  type Site,
  type Skip,
  siteCost,
  variantsOf,
  widenFloat16,
} from '../compress/index.ts'
import { type TaskOptions, WhittleError } from '../core/index.ts'
import { inputShapesOf, type ObservedValue, observeShapes } from '../engine/index.ts'
import { forEachModelNode, type Model, modelCost } from '../graph/index.ts'
import type { DType } from '../tensor/index.ts'
import { prepareModel } from './prepare.ts'
import type { Runtime } from './runtime.ts'

/** Options of {@link inspect}. */
export interface InspectOptions extends TaskOptions {
  /** Shapes of inputs that the model leaves open; an open first axis counts as the batch and needs none. */
  readonly inputShapes?: Readonly<Record<string, readonly number[]>> | undefined
}

/** A model's input or output. */
export type InspectedValue = {
  readonly name: string
  /** `null` when the model does not say. */
  readonly dtype: DType | null
  /** Symbolic axes by name, open ones as `null`; `null` when the rank is open. */
  readonly shape: readonly (number | string | null)[] | null
}

/** A layer that carries a weight. */
export type InspectedLayer = {
  readonly name: string
  readonly op: string
  readonly kind: Site['kind']
  readonly weightShape: readonly number[]
  readonly weightType: DType
  readonly group: number
  /** `null` when it was not observed. */
  readonly inputShape: readonly number[] | null
  readonly outputShape: readonly number[] | null
  /** Elements of weight and bias. */
  readonly parameters: number
  readonly bytes: number
  /** Of the weight, batch 1; `null` when shapes were not observed. */
  readonly macs: number | null
  /** Per method: `true` when it can take this layer, else the reason. */
  readonly methods: { readonly [method in FormName | 'quantize']: true | string }
}

/** What {@link inspect} returns. */
export type Inspection = {
  readonly irVersion: number
  readonly opsets: { readonly [domain: string]: number }
  readonly producer: string
  readonly inputs: readonly InspectedValue[]
  readonly outputs: readonly InspectedValue[]
  /** Nodes per operator, subgraphs and functions included, most frequent first. */
  readonly operators: { readonly [op: string]: number }
  readonly cost: Cost
  readonly layers: readonly InspectedLayer[]
  /** Nodes that could carry a weight and do not, with the reason. */
  readonly skips: readonly Skip[]
  readonly warnings: readonly string[]
}

/**
 * Inspects a model. Its weights are not read, except those that other constants are computed from.
 *
 * A model that ONNX Runtime refuses is inspected without shapes and MACs, with a warning.
 *
 * @throws WhittleError `INVALID_ARGUMENT` for open input shapes, `INVALID_MODEL` listing what is wrong with the graph.
 */
export async function inspect(
  model: Model,
  options: InspectOptions,
  runtime: Pick<Runtime, 'evaluator'>,
): Promise<Inspection> {
  const { inputShapes, signal } = options
  const prepared = await prepareModel(model, runtime, options)
  const warnings: string[] = []
  let shapes: ReadonlyMap<string, ObservedValue> = new Map()
  try {
    shapes = await observeShapes(runtime.evaluator, prepared, { inputShapes, signal })
  } catch (error) {
    if (!(error instanceof WhittleError && error.code === 'ENGINE')) throw error
    inputShapesOf(prepared, { inputShapes })
    warnings.push(`Shapes and MACs are not known: ${error.message}`)
  }
  const { sites, skips } = findSites(prepared, shapes)
  const { parameters, bytes, macs } = modelCost(prepared, shapes)
  const quantizable = whatQuantizes(prepared, shapes)
  return {
    irVersion: model.irVersion,
    opsets: Object.fromEntries([...model.opsets].map(([domain, version]) => [domain || 'ai.onnx', version])),
    producer: [model.producerName, model.producerVersion].filter((part) => part !== '').join(' '),
    inputs: prepared.graph.inputs.map(describeValue),
    outputs: prepared.graph.outputs.map(describeValue),
    operators: countOperators(model),
    cost: { parameters, bytes, macs },
    layers: sites.map((site) => describeSite(site, quantizable)),
    skips,
    warnings,
  }
}

function describeValue({ name, type }: Model['graph']['inputs'][number]): InspectedValue {
  if (type?.kind !== 'tensor') return { name, dtype: null, shape: null }
  return { name, dtype: type.dtype ?? null, shape: type.shape ?? null }
}

function countOperators(model: Model): Record<string, number> {
  const counts = new Map<string, number>()
  forEachModelNode(model, ({ domain, opType }) => {
    const name = domain === '' ? opType : `${domain}::${opType}`
    counts.set(name, (counts.get(name) ?? 0) + 1)
  })
  return Object.fromEntries([...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)))
}

/** What quantization says to nodes, by name. */
function whatQuantizes(model: Model, shapes: ReadonlyMap<string, ObservedValue>): ReadonlyMap<string, true | string> {
  // Networks of float16 would be widened first.
  const isHalf = hasFloat16(model)
  const clone = normalizeLinear(isHalf && model.functions.length === 0 ? widenFloat16(model) : model, shapes)
  // It would be lifted first; whether that is possible is seen then.
  clone.opsets.set('', Math.max(clone.opsets.get('') ?? 1, 13))
  if (isQuantized(clone))
    return new Map(clone.graph.nodes.map((node) => [node.name, 'The model is quantized already.']))
  const types = new Map(
    [...shapes].map(([name, { shape, dtype }]): [string, ObservedValue] => [
      name,
      { shape, dtype: dtype === 'float16' ? 'float32' : dtype },
    ]),
  )
  const { nodes, skips } = findQuantizable(clone, types)
  return new Map<string, true | string>([
    ...skips.map(({ name, reason }): [string, string] => [name, reason]),
    ...nodes.map(({ name }): [string, true] => [name, true]),
  ])
}

function describeSite(site: Site, quantizable: ReadonlyMap<string, true | string>): InspectedLayer {
  const cost = siteCost(site)
  const answer = (form: FormName): true | string => {
    const variants = variantsOf(form, site)
    return typeof variants === 'string' ? variants : true
  }
  return {
    name: site.name,
    op: site.op,
    kind: site.kind,
    weightShape: site.weight.shape,
    weightType: site.weight.dtype,
    group: site.group,
    inputShape: site.inputShape ?? null,
    outputShape: site.outputShape ?? null,
    parameters: site.weight.size + (site.bias?.size ?? 0),
    bytes: site.weight.byteLength + (site.bias?.byteLength ?? 0),
    macs: cost.macs,
    methods: {
      ...(Object.fromEntries(FORM_NAMES.map((form) => [form, answer(form)])) as Record<FormName, true | string>),
      quantize: quantizable.get(site.name) ?? 'Its input was not observed.',
    },
  }
}
