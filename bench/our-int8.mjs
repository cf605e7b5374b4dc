// Networks in float and in integers on ONNX Runtime, in turns, in one process; prints one line of JSON.
// node bench/our-int8.mjs '{"network":"resnet18","runtime":"node","batch":64,"threads":2,"runs":9}'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { decompose, quantize, quantizeWeights } from 'whittle-nn'
import { createEvaluator, createMatrixEngine, randomFeeds } from 'whittle-nn/engine'
import { GraphBuilder } from 'whittle-nn/graph'
import { resnet18Cifar, transformerEncoder, vgg16Bn } from 'whittle-nn/networks'
import { loadModel } from 'whittle-nn/node'
import { encodeModel } from 'whittle-nn/onnx'
import { Tensor } from 'whittle-nn/tensor'
import { SHARED } from './environment.mjs'
import { median } from './interleave.mjs'
import { usage } from './process.mjs'
import { normal } from './synthetic-weights.mjs'

const [CHANNELS, EDGE, LAYERS] = [128, 28, 8]
const TOKENS = 128
const WARMUP = 3
const TURNS = 3

/**
 * Eight 3 × 3 convolutions of 128 channels at 28 × 28, each with Relu, and an average over the picture, so that what is
 * measured is not the copying of 400 kB of output.
 */
function convolutions() {
  const b = new GraphBuilder('convolutions')
  let x = b.input('x', 'float32', ['batch', CHANNELS, EDGE, EDGE])
  const deviation = Math.sqrt(2 / (CHANNELS * 9))
  for (let layer = 0; layer < LAYERS; layer++) {
    const shape = [CHANNELS, CHANNELS, 3, 3]
    const weight = Float32Array.from({ length: CHANNELS * CHANNELS * 9 }, (_, i) => deviation * normal(layer, i))
    const bias = Float32Array.from({ length: CHANNELS }, (_, i) => 0.1 * normal(100 + layer, i))
    const operands = [x, b.constant(Tensor.of(weight, shape)), b.constant(Tensor.of(bias, [CHANNELS]))]
    x = b.op('Relu', [b.op('Conv', operands, { pads: [1, 1, 1, 1] })])
  }
  b.output(b.op('GlobalAveragePool', [x]), 'float32', ['batch', CHANNELS, 1, 1])
  return b.model()
}

async function trained(name) {
  const path = join(SHARED, 'models', 'onnx', `${name}.onnx`)
  if (!existsSync(path)) throw new Error(`'${name}.onnx' is not there; WHITTLE_SHARED names the folder of test models.`)
  return loadModel(path)
}

const NETWORKS = {
  convolutions,
  vgg16: () => vgg16Bn(),
  resnet18: () => resnet18Cifar(),
  resnet56: () => trained('resnet56-cifar10'),
  encoder: () => transformerEncoder(),
  vit: () => trained('vit_cifar10_pgd_2_3_16'),
}

/** What is measured besides the original. */
const VARIANTS = {
  int8: (model, runtime) => quantized(model, {}, runtime),
  s8s8: (model, runtime) => quantized(model, { activations: 'int8' }, runtime),
  u8u8: (model, runtime) => quantized(model, { weights: 'uint8', perChannel: false }, runtime),
  s16s8: (model, runtime) => quantized(model, { activations: 'int16' }, runtime),
  u8s4: (model, runtime) => quantized(model, { weights: 'int4', rounding: 'nearest' }, runtime),
  tucker: (model, runtime) => tucker(model, runtime),
  'tucker int8': async (model, runtime) => quantized(await tucker(model, runtime), {}, runtime),
}

async function quantized(model, options, runtime) {
  const feeds = randomFeeds(model, { batch: 4, seed: 1 })
  async function* data() {
    yield feeds
  }
  return (await quantize(model, { data, ...options }, runtime)).model
}

const stemOf = (model) => model.graph.nodes.find(({ opType }) => opType === 'Conv').name

async function tucker(model, runtime) {
  // The stem has three channels to read: there is nothing to save.
  const options = { method: 'tucker', rank: { kind: 'ratio', ratio: 0.25 }, align: 1, skip: [stemOf(model)] }
  return (await decompose(model, options, runtime)).model
}

async function runtimeFor({ runtime, threads }) {
  if (runtime === 'node') {
    const ort = await import('onnxruntime-node')
    return { evaluator: createEvaluator(ort, { threads }), matrices: createMatrixEngine(ort, { threads }) }
  }
  const ort = await import('onnxruntime-web')
  ort.env.wasm.numThreads = threads
  return { evaluator: createEvaluator(ort), matrices: createMatrixEngine(ort) }
}

function feedsFor(model, batch) {
  if (!model.graph.inputs.some(({ name }) => name === 'input_ids')) return randomFeeds(model, { batch, seed: 2 })
  const tensor = (make) => Tensor.of(BigInt64Array.from({ length: batch * TOKENS }, make), [batch, TOKENS])
  return { input_ids: tensor((_, i) => BigInt((i * 7919) % 30000)), attention_mask: tensor(() => 1n) }
}

/**
 * Milliseconds of every run, on the clock and of this process' CPU time, in turns of some runs. Only one session lives at
 * a time: the threads of others spin for a while after each run, on the cores that the next one needs.
 */
async function inTurns(subjects) {
  const entries = subjects.map(({ name, model, feeds }) => ({ name, model, feeds, wall: [], cpu: [] }))
  const runs = Math.ceil(job.runs / TURNS)
  for (let turn = 0; turn < TURNS; turn++)
    for (const { model, feeds, wall, cpu } of entries) {
      const executable = await runtime.evaluator.load(model)
      for (let round = -WARMUP; round < runs; round++) {
        const [started, before] = [performance.now(), process.cpuUsage()]
        await executable.run(feeds)
        const { user, system } = process.cpuUsage(before)
        if (round < 0) continue
        wall.push(performance.now() - started)
        cpu.push((user + system) / 1000)
      }
      await executable.release()
    }
  return entries
}

const job = JSON.parse(process.argv[2])
// Models are made natively whatever they are measured on.
const maker = await runtimeFor({ ...job, runtime: 'node' })
const runtime = await runtimeFor(job)
const original = await NETWORKS[job.network]()
const feeds = feedsFor(original, job.batch)
const inputShapes = Object.fromEntries(Object.entries(feeds).map(([name, { shape }]) => [name, [...shape]]))
const subjects = [{ name: 'float32', model: original, feeds }]
for (const name of job.variants) {
  const [form, ...settings] = name.split(' ')
  const model = VARIANTS[name]
    ? await VARIANTS[name](original, maker)
    : (
        await quantizeWeights(
          original,
          { format: form, embeddings: settings.includes('embeddings') || undefined, inputShapes },
          runtime,
        )
      ).model
  subjects.push({ name, model, feeds })
}
const started = performance.now()
const measured = await inTurns(subjects)
const rows = measured.map(({ name, wall, cpu }, at) => ({
  name,
  median: median(wall),
  least: Math.min(...wall),
  cpu: Math.min(...cpu),
  megabytes: encodeModel(subjects[at].model).length / 1e6,
}))
const report = { rows, seconds: (performance.now() - started) / 1000, ...usage() }
process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(0))
