// One step with a large model through the public library: our-codec.mjs make|load|save|none PATH [OUT].
import { usage } from './process.mjs'

const [step, path, out] = process.argv.slice(2)
const { loadModel, saveModel } = await import('whittle-nn/node')

/** 100 layers with 5 MB of weights each. */
async function makeModel() {
  const { GraphBuilder } = await import('whittle-nn/graph')
  const { Tensor } = await import('whittle-nn/tensor')
  const builder = new GraphBuilder()
  let x = builder.input('x', 'float32', [1, 1024])
  for (let layer = 0; layer < 100; layer++) {
    const weights = new Float32Array(1280 * 1024)
    for (let j = 0; j < weights.length; j += 97) weights[j] = layer + j
    x = builder.op('Gemm', [x, builder.constant(Tensor.of(weights, [1280, 1024]))])
  }
  builder.output(x, 'float32')
  return builder.model()
}

const started = performance.now()
if (step === 'make') await saveModel(await makeModel(), path)
else if (step !== 'none') {
  const model = await loadModel(path)
  if (step === 'save') await saveModel(model, out)
}
const report = { seconds: (performance.now() - started) / 1000, ...usage() }
process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(0))
