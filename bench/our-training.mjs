// Training steps of one network: forward, backward, SGD with momentum and weight decay; prints one line of JSON.
// With `products` the time is that of convolutions and matrix products alone, as ONNX Runtime's profiler has it.
// With `dump` it writes the network, its weights and the samples for the peers instead, and measures nothing.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as ort from 'onnxruntime-node'
import { createEvaluator, createTrainingStep, observeShapes, prepareNetwork } from 'whittle-nn'
import { Tensor } from 'whittle-nn/tensor'
import { usage } from './process.mjs'
import { NETWORKS } from './training-networks.mjs'

/** Steps per run of the engine, as fine-tuning takes them. */
const STEPS_PER_RUN = 8
/** Steps whose losses are compared. */
const COMPARED = 5

const { network, threads, runs, dump, kernels, lr, products } = JSON.parse(process.argv[2])
const { build, batch } = NETWORKS[network]

let seed = 1
const random = () => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
  return seed / 2 ** 31 - 1
}
const pictures = Float32Array.from({ length: batch * 3 * 32 * 32 }, random)
const labels = Int32Array.from({ length: batch }, (_, at) => at % 10)

/** The network as JSON beside one file of float32 numbers: samples first, then every initializer. */
function write(model) {
  const parts = [pictures]
  const tensors = {}
  let offset = pictures.length
  for (const [name, tensor] of model.graph.initializers) {
    const values = new Float32Array(tensor.bytes.slice().buffer)
    tensors[name] = { shape: tensor.shape, offset, size: values.length }
    parts.push(values)
    offset += values.length
  }
  const nodes = model.graph.nodes.map(({ opType, inputs, outputs, attributes }) => {
    const values = Object.fromEntries([...attributes].map(([name, { value, values: list }]) => [name, value ?? list]))
    return { op: opType, inputs, outputs, attributes: values }
  })
  writeFileSync(
    `${dump}.bin`,
    Buffer.concat(parts.map((part) => Buffer.from(part.buffer, part.byteOffset, part.byteLength))),
  )
  const plain = (_, value) => (typeof value === 'bigint' ? Number(value) : value)
  writeFileSync(`${dump}.json`, JSON.stringify({ batch, nodes, tensors }, plain))
}

/** The runtime with a clock around its runs. @param profiles prefix of profiles' files. */
function clocked(profiles) {
  const clock = { seconds: 0 }
  const create = async (bytes, options) => {
    const profiling = profiles ? { enableProfiling: true, profileFilePrefix: profiles } : {}
    const session = await ort.InferenceSession.create(bytes, { ...options, ...profiling })
    clock.session = session
    const run = session.run.bind(session)
    session.run = async (...feeds) => {
      const started = performance.now()
      try {
        return await run(...feeds)
      } finally {
        clock.seconds += (performance.now() - started) / 1000
      }
    }
    return session
  }
  return { runtime: { Tensor: ort.Tensor, InferenceSession: { create } }, clock }
}

/** Whether a profiled node is a convolution or a product of the network's, and no scaling or sum in the form of one. */
function isProduct({ op_name: operator, input_type_shape: inputs = [], output_type_shape: outputs = [] }) {
  if (operator !== 'Conv') return ['MatMul', 'FusedMatMul', 'Gemm', 'ConvTranspose'].includes(operator)
  const [, weight] = inputs.map((input) => Object.values(input)[0])
  const [result] = outputs.map((output) => Object.values(output)[0])
  return weight[1] > 1 || (weight[2] * weight[3] > 1 && result[2] * result[3] > 1)
}

/** Seconds per step in products, of the last run of the step's session. */
function secondsInProducts(folder) {
  const profiles = readdirSync(folder).map((name) => readFileSync(join(folder, name), 'utf8'))
  const events = JSON.parse(profiles.sort((a, b) => b.length - a.length)[0])
  const nodes = events.filter(({ cat, name: event }) => cat === 'Node' && event.endsWith('_kernel_time'))
  const loops = nodes.filter(({ args }) => args.op_name === 'Loop').map(({ ts, dur }) => ({ ts, end: ts + dur }))
  const sums = loops.map(({ ts, end }) =>
    nodes
      .filter((node) => node.ts >= ts && node.ts < end && isProduct(node.args))
      .reduce((sum, { dur }) => sum + dur, 0),
  )
  return Math.min(...sums.slice(1)) / 1e6 / STEPS_PER_RUN
}

async function measure() {
  const folder = products && mkdtempSync(join(tmpdir(), 'training-products-'))
  const { runtime, clock } = clocked(folder && join(folder, 'profile'))
  const evaluator = createEvaluator(runtime, { threads })
  const observe = (model, options) => observeShapes(evaluator, model, options)
  const { model, types } = await prepareNetwork(build(), observe, { batch })
  const training = await createTrainingStep(evaluator, model, {
    types,
    kernels,
    loss: [{ kind: 'cross-entropy' }],
    optimizer: { kind: 'sgd', momentum: 0.9, weightDecay: 5e-4 },
  })
  const take = (count) => {
    const all = new Float32Array(count * pictures.length)
    for (let at = 0; at < count; at++) all.set(pictures, at * pictures.length)
    const samples = { inputs: [Tensor.of(all, [count * batch, 3, 32, 32])], labels: new Int32Array(count * batch) }
    for (let at = 0; at < samples.labels.length; at++) samples.labels[at] = labels[at % batch]
    return training.steps(samples, new Array(count).fill(lr))
  }
  const losses = [...(await take(COMPARED)).losses]
  await take(STEPS_PER_RUN)
  let [least, share, processor] = [Number.POSITIVE_INFINITY, 1, Number.POSITIVE_INFINITY]
  for (let run = 0; run < runs; run++) {
    const inside = clock.seconds
    const [started, used] = [performance.now(), process.cpuUsage()]
    await take(STEPS_PER_RUN)
    const seconds = (performance.now() - started) / 1000
    const { user, system } = process.cpuUsage(used)
    processor = Math.min(processor, (user + system) / 1e6 / STEPS_PER_RUN)
    if (seconds / STEPS_PER_RUN < least) {
      least = seconds / STEPS_PER_RUN
      share = 1 - (clock.seconds - inside) / seconds
    }
  }
  if (folder) {
    clock.session.endProfiling()
    least = secondsInProducts(folder)
    rmSync(folder, { recursive: true })
  }
  return { seconds: least, losses, share, processor }
}

if (dump) write(build())
const result = dump ? { seconds: 0 } : await measure()
process.stdout.write(`${JSON.stringify({ ...result, ...usage() })}\n`, () => process.exit(0))
