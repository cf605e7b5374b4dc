// Accuracy of quantized networks beside onnxruntime.quantization: the same prepared float network, the same calibration
// samples, uint8 activations and int8 weights per channel, one calibrator after the other. Both are run on the same test
// samples, and those that only one of them gets right decide whether the difference can be chance (McNemar's exact
// test). Alone: WHITTLE_LIMIT=5000 node interop/quantize-accuracy.mjs [network …]; prints a table in Markdown.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { prepareForQuantization, quantize } from 'whittle-nn'
import { evaluateModel, feedsOf, modelInputs, preprocessDataset, resolvePreprocess } from 'whittle-nn/data'
import { calibrationFeeds, createNodeRuntime, saveModel } from 'whittle-nn/node'
import { toFloat32 } from 'whittle-nn/tensor'
import { openNetwork } from '../bench/quantize-networks.mjs'
import { PYTHON, pythonEnvironment } from './python.mjs'

/** Our calibrators and the one there that stands for the same idea. */
const PAIRS = [
  ['minmax', 'minmax'],
  ['moving-average', 'moving-average'],
  ['percentile', 'percentile'],
  ['entropy', 'entropy'],
]
/** Differences that chance makes in fewer cases than this are not chance. */
const SIGNIFICANT = 0.01

/** Writes batches of one input as float32, and returns their number of samples. */
function writeBatches(path, batches) {
  const parts = batches.map((tensor) => Buffer.from(Float32Array.from(toFloat32(tensor)).buffer))
  writeFileSync(path, Buffer.concat(parts))
  return batches.reduce((sum, tensor) => sum + tensor.shape[0], 0)
}

/** Quantizes and measures with ours, and writes what quantize_accuracy.py needs to do the same. */
export async function accuracyJob(folder, name, shared, { samples = 128, limit = 1000 } = {}) {
  const runtime = await createNodeRuntime({ threads: 1 })
  const { model, train, test, preprocess, ids } = await openNetwork(name, shared)
  const float = (await prepareForQuantization(model, {}, runtime)).model
  const feeds = calibrationFeeds(float, train, { preprocess, limit: samples, seed: 0 })
  const input = modelInputs(float)[0].name
  const calibration = []
  for await (const batch of feeds()) calibration.push(batch[input])
  const tests = []
  const labels = []
  const { preprocess: resolved } = resolvePreprocess(float, preprocess)
  const prepared = preprocessDataset(test, resolved)
  for await (const batch of prepared.batches({ limit }))
    for (const { feeds: run, start, size } of feedsOf(batch, modelInputs(float), { layout: resolved.layout })) {
      tests.push(run[input])
      labels.push(...batch.labels.subarray(start, start + size))
    }
  const file = (end) => join(folder, `${name.replaceAll('/', '_')}${end}`)
  await saveModel(float, file('.onnx'))
  writeBatches(file('.calibration'), calibration)
  writeBatches(file('.test'), tests)
  const accuracy = async (subject) =>
    (await evaluateModel(runtime.evaluator, subject, test, { preprocess, limit })).top1
  const ours = {}
  const files = {}
  for (const [calibrator] of PAIRS) {
    const { model: small } = await quantize(float, { data: feeds, calibration: calibrator }, runtime)
    ours[calibrator] = await accuracy(small)
    files[calibrator] = file(`-${calibrator}.onnx`)
    await saveModel(small, files[calibrator])
  }
  return {
    name,
    model: file('.onnx'),
    input,
    sampleShape: tests[0].shape.slice(1),
    calibrationBatch: calibration[0].shape[0],
    testBatch: tests[0].shape[0],
    calibration: file('.calibration'),
    test: file('.test'),
    labels,
    float: await accuracy(float),
    ids: (ids ?? labels.map((_, i) => i)).slice(0, labels.length),
    ours,
    files,
    pairs: PAIRS,
    significant: SIGNIFICANT,
  }
}

if (process.argv[1] === import.meta.filename) {
  const shared = process.env.WHITTLE_SHARED ?? join(import.meta.dirname, '..', '..', 'shared')
  const folder = mkdtempSync(join(tmpdir(), 'whittle-accuracy-'))
  const names = process.argv.length > 2 ? process.argv.slice(2) : ['resnet20-cifar10', 'ds-cnn']
  try {
    const titles =
      'network|float|calibrator|whittle|onnxruntime.quantization|only ours right|only theirs|of these tied there|p'
    console.log(`| ${titles.replaceAll('|', ' | ')} |\n|${' --- |'.repeat(titles.split('|').length)}`)
    const options = {
      samples: Number(process.env.WHITTLE_SAMPLES ?? 128),
      limit: Number(process.env.WHITTLE_LIMIT ?? 1000),
    }
    // Folds of one network together: a sample that several of them test counts once.
    for (const name of new Set(names.map((each) => each.split('@')[0]))) {
      const jobs = []
      for (const each of names.filter((other) => other.split('@')[0] === name))
        jobs.push(await accuracyJob(folder, each, shared, options))
      writeFileSync(join(folder, 'job.json'), JSON.stringify(jobs))
      const script = join(import.meta.dirname, 'python', 'quantize_accuracy.py')
      const output = execFileSync(PYTHON, [script, join(folder, 'job.json')], {
        encoding: 'utf8',
        env: { ...process.env, ...pythonEnvironment() },
      })
      const { rows, problems } = JSON.parse(output.trimEnd().split('\n').at(-1))
      const percent = (value) => `${(100 * value).toFixed(2)} %`
      for (const { network, float, calibrator, ours, theirs, onlyOurs, onlyTheirs, tied, p } of rows)
        console.log(
          `| ${network} | ${percent(float)} | ${calibrator} | ${percent(ours)} | ${percent(theirs)} | ${onlyOurs} | ${onlyTheirs} | ${tied} | ${p.toFixed(2)} |`,
        )
      for (const problem of problems) console.log(`worse: ${problem}`)
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
