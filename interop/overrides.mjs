// Quantized models of ours and their TensorQuantOverrides, for onnxruntime.quantization to quantize from the file.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { quantize } from 'whittle-nn'
import { overridesFromPlan, writeTensorQuantOverrides } from 'whittle-nn/formats'
import { calibrationFeeds, createNodeRuntime, datasets, loadModel, saveModel } from 'whittle-nn/node'

const SCHEMES = {
  'per channel': {},
  'per tensor': { perChannel: false },
  'arq weights, mse ranges': { weightAlgorithm: 'arq', calibration: 'mse' },
}

/** Writes models and overrides into a folder; returns what overrides.py reads. */
export async function overridesCases(folder, resnet, cifar10) {
  const model = await loadModel(resnet)
  const runtime = await createNodeRuntime({ threads: 2 })
  const dataset = await datasets.cifar10(cifar10, { split: 'train' })
  const data = calibrationFeeds(model, dataset, { preprocess: 'cifar10', limit: 32 })
  const cases = []
  for (const [name, options] of Object.entries(SCHEMES)) {
    const { model: quantized, float, plan } = await quantize(model, { ...options, data }, runtime)
    const path = (ending) => join(folder, `overrides-${cases.length}${ending}`)
    const files = { float: path('.onnx'), quantized: path('-quantized.onnx'), overrides: path('.json') }
    await saveModel(float, files.float)
    await saveModel(quantized, files.quantized)
    writeFileSync(files.overrides, writeTensorQuantOverrides(overridesFromPlan(plan)))
    cases.push({ name, ...files, nodes: plan.steps.map(({ node }) => node) })
  }
  return cases
}
