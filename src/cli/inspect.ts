import { calibrationFeeds, type Diagnosis, diagnose, type Inspection, inspect, type Runtime } from '../api/index.ts'
import { fail } from '../core/index.ts'
import type { Model } from '../graph/index.ts'
import { fileLabel, loadModel } from '../node/index.ts'
import { formatBytes, formatCount, formatDiagnosis, formatShape, formatTable } from '../report/index.ts'
import { defineCommand } from './command.ts'
import {
  DATA_OPTIONS,
  INPUT_SHAPE_OPTION,
  openCalibrationData,
  readInputShapes,
  readPreprocess,
  runtimeFor,
} from './model-options.ts'
import type { OptionValues } from './options.ts'
import type { Terminal } from './terminal.ts'

/** Samples that the doctor looks at unless told otherwise. */
const DOCTOR_SAMPLES = 128

/** `whittle inspect`. */
export const command = defineCommand({
  name: 'inspect',
  summary: 'Shows layers, shapes, parameters, bytes and MACs, and what each method can do with each layer',
  usage: 'MODEL',
  models: [1, 1],
  options: {
    ...INPUT_SHAPE_OPTION,
    doctor: { kind: 'flag', about: 'looks for what usually goes wrong when a model is quantized; best with --data' },
    'per-tensor': { kind: 'flag', about: 'with --doctor: weights will have one scale each' },
    ...DATA_OPTIONS,
    data: { ...DATA_OPTIONS.data, about: `with --doctor: samples to calibrate with, ${DATA_OPTIONS.data.about}` },
  },
  examples: [
    ['whittle inspect model.onnx', 'layers, costs, and which methods fit'],
    ['whittle inspect detector.onnx --input-shape images:1x3x640x640', 'a model with open height and width'],
    [
      'whittle inspect model.onnx --doctor --data images:./samples --preprocess imagenet',
      'what will go wrong when it is quantized, before it does; exits with 2 when quantizing would fail',
    ],
    ['whittle inspect model.onnx --json', 'exact numbers and every reason, for programs'],
  ],
  async run({ models: [path], options, terminal }) {
    const model = await loadModel(path!, terminal)
    const inputShapes = readInputShapes(options['input-shape'], model)
    const runtime = await runtimeFor(options)
    if (options.doctor) {
      const diagnosis = await examine(model, options, terminal, runtime)
      terminal.print({ model: path, ...diagnosis }, () => formatDiagnosis(diagnosis.findings, diagnosis.samples))
      return diagnosis.findings.some(({ severity }) => severity === 'error') ? 2 : 0
    }
    for (const name of ['data', 'split', 'limit', 'batch', 'preprocess', 'data-type', 'per-tensor'] as const)
      if (options[name] !== undefined && options[name] !== false)
        fail('INVALID_ARGUMENT', `Option --${name}: is for --doctor, which looks at data. Add --doctor.`)
    const found = await inspect(model, { inputShapes, signal: terminal.signal }, runtime)
    terminal.print({ model: path, ...found }, () => describe(path!, found))
    return 0
  },
})

async function examine(
  model: Model,
  options: OptionValues<typeof DATA_OPTIONS> & {
    readonly 'input-shape': readonly string[]
    readonly 'per-tensor': boolean
    readonly seed: number | undefined
  },
  { signal, onProgress }: Terminal,
  runtime: Runtime,
): Promise<Diagnosis> {
  const dataset = await openCalibrationData(options, model)
  const preprocess = readPreprocess(options.preprocess, model)
  const { batch, seed, limit = DOCTOR_SAMPLES } = options
  const data = dataset && calibrationFeeds(model, dataset, { preprocess, batch, limit, seed, signal })
  return diagnose(model, { data, preprocess, perChannel: !options['per-tensor'], signal, onProgress }, runtime)
}

function describe(path: string, found: Inspection): string {
  const { cost, layers, skips } = found
  const opsets = Object.entries(found.opsets).map(([domain, version]) => `${domain} ${version}`)
  const values = (list: Inspection['inputs']): string =>
    list.map(({ name, dtype, shape }) => `${name} ${dtype ?? '?'} ${formatShape(shape ?? undefined)}`).join(', ')
  const operators = Object.entries(found.operators).map(([op, count]) => `${op} ${count}`)
  const head = [
    `${fileLabel(path)}: opset ${opsets.join(', ')}${found.producer ? `, from ${found.producer}` : ''}`,
    `inputs     ${values(found.inputs)}`,
    `outputs    ${values(found.outputs)}`,
    `nodes      ${operators.join(', ')}`,
    `costs      ${formatCount(cost.parameters)} parameters, ${formatBytes(cost.bytes)}, ${formatCount(cost.macs)} MACs`,
  ]
  const parts = [head.join('\n')]
  if (layers.length > 0) parts.push(layerTable(layers))
  const refusals = describeRefusals(found)
  if (refusals !== '') parts.push(`Why not:\n${refusals}`)
  if (layers.length === 0 && skips.length === 0) parts.push('No layer carries a weight that a method could work on.')
  parts.push(...found.warnings.map((warning) => `Warning: ${warning}`))
  return parts.join('\n\n')
}

function layerTable(layers: Inspection['layers']): string {
  const right = (title: string) => ({ title, align: 'right' as const })
  const methodsOf = (layer: Inspection['layers'][number]): string =>
    Object.entries(layer.methods)
      .filter(([, answer]) => answer === true)
      .map(([name]) => name)
      .join(' ') || 'none'
  return formatTable(
    ['layer', 'op', 'weight', 'output', right('parameters'), right('bytes'), right('MACs'), 'methods'],
    layers.map((layer) => [
      layer.name,
      layer.group > 1 ? `${layer.op} /${layer.group}` : layer.op,
      formatShape(layer.weightShape),
      formatShape(layer.outputShape ?? undefined),
      formatCount(layer.parameters),
      formatBytes(layer.bytes),
      formatCount(layer.macs),
      methodsOf(layer),
    ]),
  )
}

/** Methods that are meant for linear layers, too. */
const LINEAR_METHODS: ReadonlySet<string> = new Set(['svd', 'tt', 'quantize'])

/** Each reason once, with the layers it holds for; not that a method is for another kind of layer altogether. */
function describeRefusals({ layers, skips }: Inspection): string {
  const byReason = new Map<string, string[]>()
  const add = (reason: string, name: string): void => {
    byReason.set(reason, [...(byReason.get(reason) ?? []), name])
  }
  for (const { name, reason } of skips) add(reason, name)
  for (const { name, kind, methods } of layers)
    for (const [method, answer] of Object.entries(methods))
      if (answer !== true && (kind === 'linear' ? LINEAR_METHODS.has(method) : method !== 'svd'))
        add(`${method}: ${answer}`, name)
  return [...byReason]
    .map(([reason, names]) => {
      const shown = names.length > 3 ? `${names.slice(0, 2).join(', ')} and ${names.length - 2} more` : names.join(', ')
      return `  ${reason} (${shown})`
    })
    .join('\n')
}
