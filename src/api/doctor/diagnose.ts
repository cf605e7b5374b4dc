/** Names what usually goes wrong when a network is quantized, before it is. */
import { findSites, type IntegerType } from '../../compress/index.ts'
import type { TaskOptions } from '../../core/index.ts'
import type { Preprocess, PresetName } from '../../data/index.ts'
import { surveyValues } from '../../engine/index.ts'
import { foldBatchNorm, type Model, runPasses, type TensorMap } from '../../graph/index.ts'
import { prepareModel } from '../prepare.ts'
import type { Runtime } from '../runtime.ts'
import { checkActivations, checkSamples, SampleTally } from './data-checks.ts'
import { declaredRanges, resolvesFromModel } from './declared-ranges.ts'
import type { Finding } from './finding.ts'
import { checkGraph } from './graph-checks.ts'

/** Options of {@link diagnose}. */
export interface DiagnoseOptions extends TaskOptions {
  /** Samples that ranges would be found from, in batches; without them only the network is looked at. */
  readonly data?: (() => AsyncIterable<TensorMap>) | undefined
  /** Type that activations will have; default uint8. */
  readonly activations?: IntegerType | 'none' | undefined
  /** Type that weights will have; default int8. */
  readonly weights?: IntegerType | undefined
  /** Whether every output channel of a weight will have its own scale; default true. */
  readonly perChannel?: boolean | undefined
  /** Whether batch normalisations will be folded; default true. */
  readonly foldBatchNorm?: boolean | undefined
  /** The preprocessing that `data` went through, if somebody chose one: then raw pixels are meant. */
  readonly preprocess?: PresetName | Preprocess | undefined
}

/** What the doctor found. */
export type Diagnosis = {
  /** Errors first, then warnings, then notes; empty for a healthy network. */
  readonly findings: readonly Finding[]
  /** Samples that were looked at. */
  readonly samples: number
}

const ORDER: Readonly<Record<Finding['severity'], number>> = { error: 0, warning: 1, note: 2 }

/**
 * Looks at a network, and at what it makes of samples, for the usual causes of bad quantization: inputs that are not
 * what it was trained on, constant or identical samples, too few of them, batch normalisations that do not fold,
 * depthwise convolutions with one scale, outliers, dead channels, NaN, and models that cannot be quantized at all.
 *
 * The data are passed over once.
 *
 * @throws WhittleError `INVALID_MODEL` when the graph is broken, `ENGINE` when it cannot be run, `ABORTED`.
 */
export async function diagnose(
  model: Model,
  options: DiagnoseOptions,
  runtime: Pick<Runtime, 'evaluator'>,
): Promise<Diagnosis> {
  const prepared = await prepareModel(model, runtime, options)
  const { model: folded } = await runPasses(prepared, [foldBatchNorm], { signal: options.signal })
  const findings = checkGraph(prepared, folded, {
    activations: options.activations ?? 'uint8',
    weights: options.weights ?? 'int8',
    perChannel: options.perChannel ?? true,
    foldBatchNorm: options.foldBatchNorm ?? true,
  })
  const stop = findings.some(({ code }) => code === 'already-quantized')
  const { data } = options
  if (!data || stop) return { findings: inOrder(findings), samples: 0 }
  const looked = await lookAtData(prepared, folded, data, options, runtime)
  return { findings: inOrder([...findings, ...looked.findings]), samples: looked.samples }
}

const inOrder = (findings: readonly Finding[]): Finding[] =>
  findings.toSorted((a, b) => ORDER[a.severity] - ORDER[b.severity])

async function lookAtData(
  model: Model,
  folded: Model,
  data: () => AsyncIterable<TensorMap>,
  options: DiagnoseOptions,
  { evaluator }: Pick<Runtime, 'evaluator'>,
): Promise<{ findings: Finding[]; samples: number }> {
  const tally = new SampleTally()
  const counted = async function* (): AsyncIterable<TensorMap> {
    for await (const feeds of data()) {
      tally.add(feeds)
      yield feeds
    }
  }
  const inputs = model.graph.inputs.map(({ name }) => name)
  const made = new Set(model.graph.nodes.flatMap((node) => node.outputs))
  const layerInputs = findSites(folded).sites.map(({ node }) => node.inputs[0] ?? '')
  const normalized = model.graph.nodes.flatMap(({ opType, inputs: read }) =>
    opType === 'BatchNormalization' ? [read[0] ?? ''] : [],
  )
  const inner = [...new Set([...layerInputs, ...normalized])].filter((name) => made.has(name))
  const surveys = await surveyValues(evaluator, model, [...inputs, ...inner], counted(), options)
  const isPreprocessed = options.preprocess !== undefined || resolvesFromModel(model)
  return {
    samples: tally.samples,
    findings: [
      ...checkSamples({
        tally,
        inputs: inputs.flatMap((name) => surveys.get(name) ?? []),
        declared: declaredRanges(model),
        isPreprocessed,
      }),
      ...checkActivations(model, surveys, new Set(inner.filter((name) => layerInputs.includes(name)))),
    ],
  }
}
