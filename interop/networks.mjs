// ResNet-20 decomposed in three ways, with ONNX Runtime's outputs on a few images, for PyTorch and AMCT to repeat.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { formatDecomposeInfo } from 'whittle-nn/compress'
import { createNodeRuntime, decompose, loadModel, saveModel } from 'whittle-nn/node'
import { Tensor } from 'whittle-nn/tensor'
import { normal } from '../bench/synthetic-weights.mjs'
import { encodeNpy } from './npy.mjs'

const IMAGES = 8
const SHAPE = [IMAGES, 3, 32, 32]

async function outputsOf(runtime, model, images, path) {
  const executable = await runtime.evaluator.load(model)
  const [logits] = Object.values(await executable.run({ [model.graph.inputs[0].name]: images }))
  await executable.release()
  writeFileSync(path, encodeNpy(logits.data, logits.shape))
}

/**
 * Writes models, records and outputs into a folder; returns the job of networks.py.
 *
 * @param source path of the ONNX model.
 */
export async function networkJob(folder, source) {
  const runtime = await createNodeRuntime()
  const original = await loadModel(source)
  const pixels = Float32Array.from({ length: SHAPE.reduce((product, extent) => product * extent, 1) }, (_, i) =>
    normal(7, i),
  )
  const images = Tensor.of(pixels, SHAPE)
  const at = (name) => join(folder, name)
  writeFileSync(at('images.npy'), encodeNpy(pixels, SHAPE))
  await outputsOf(runtime, original, images, at('original.npy'))
  const job = { original: source, images: at('images.npy'), originalOutputs: at('original.npy') }
  const runs = {
    tucker: { method: 'tucker', rank: { kind: 'ratio', ratio: 0.5 } },
    spatial: { method: 'spatial', rank: { kind: 'ratio', ratio: 0.75 } },
    amct: { method: 'spatial', rank: { kind: 'amct' } },
  }
  for (const [name, options] of Object.entries(runs)) {
    const { model, info, record } = await decompose(original, options, runtime)
    job[name] = at(`${name}.onnx`)
    job[`${name}Info`] = at(`${name}.json`)
    job[`${name}Outputs`] = at(`${name}.npy`)
    job[`${name}Layers`] = record.layers.length
    await saveModel(model, job[name])
    writeFileSync(job[`${name}Info`], formatDecomposeInfo(info))
    await outputsOf(runtime, model, images, job[`${name}Outputs`])
  }
  return job
}
