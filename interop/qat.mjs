// Gradients of fake-quantized layers for PyTorch to compare: every algorithm on activations and weights.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createRandom } from 'whittle-nn'
import { gradient } from 'whittle-nn/autodiff'
import { planQuantize } from 'whittle-nn/compress'
import { observeShapes, withOutputs } from 'whittle-nn/engine'
import { GraphBuilder } from 'whittle-nn/graph'
import { createNodeRuntime } from 'whittle-nn/node'
import { toFakeQuantized } from 'whittle-nn/retrain'
import { Tensor } from 'whittle-nn/tensor'
import { encodeNpy } from './npy.mjs'

const ROWS = 256
const INPUTS = 24
const OUTPUTS = 12

function normal(seed, shape, factor) {
  const random = createRandom(seed)
  const size = shape.reduce((a, b) => a * b, 1)
  return Tensor.of(
    Float32Array.from({ length: size }, () => random.normal() * factor),
    shape,
  )
}

/** x (→ Relu) → Gemm with a weight [out, in] and a bias. */
function layer(relu) {
  const b = new GraphBuilder('layer')
  const x = b.input('x', 'float32', [ROWS, INPUTS])
  const data = relu ? b.op('Relu', [x], {}, 'positive') : x
  const weight = b.constant(normal(2, [OUTPUTS, INPUTS], 0.3), 'weight')
  b.op('Gemm', [data, weight, b.constant(normal(3, [OUTPUTS], 0.1), 'bias')], { transB: 1 }, 'y')
  b.output('y', 'float32', [ROWS, OUTPUTS])
  const model = b.model(18)
  for (const node of model.graph.nodes) node.name = node.opType.toLowerCase()
  return model
}

async function caseOf({ evaluator }, folder, name, { relu, bits, algorithm, weights, perChannel }) {
  const model = layer(relu)
  const shapes = await observeShapes(evaluator, model)
  const input = relu ? 'positive' : 'x'
  const range = relu ? { min: 0, max: 1.7 } : { min: -1.37, max: 1.71 }
  const planOptions = { activationBits: bits, weightBits: bits, perChannel }
  const plan = planQuantize(model, planOptions, { shapes, ranges: new Map([[input, range]]) })
  const network = toFakeQuantized(model, model, plan, shapes, { algorithm, weights, initial: 'mean' })
  const { graph } = network.model
  graph.initializers.set('upstream', normal(4, [ROWS, OUTPUTS], 1))
  const x = normal(1, [ROWS, INPUTS], 1)
  const types = await observeShapes(evaluator, network.model)
  const withRespectTo = ['x', 'weight', 'bias', ...network.parameters]
  const result = gradient(network.model, {
    seeds: new Map([['y', 'upstream']]),
    withRespectTo,
    types,
    rules: network.rules,
  })
  const executable = await evaluator.load(withOutputs(result.model, ['y', ...result.gradients.values()]))
  const found = await executable.run({ x })
  await executable.release()
  const write = (role, { data, shape }) => {
    const path = join(folder, `qat-${name}-${role.replaceAll('/', '_')}.npy`)
    writeFileSync(path, encodeNpy(data, shape.length === 0 ? [1] : shape))
    return path
  }
  const [{ parameters }] = network.activations
  const [{ scale }] = network.weights
  return {
    name,
    relu,
    bits,
    algorithm,
    weights,
    perChannel,
    zeroPoint: plan.activations[0].quantization.zeroPoint[0],
    values: {
      x: write('x', x),
      upstream: write('upstream', graph.initializers.get('upstream')),
      weight: write('weight', graph.initializers.get('weight')),
      bias: write('bias', graph.initializers.get('bias')),
      y: write('y', found.y),
    },
    learned: Object.fromEntries(
      [...Object.entries(parameters), ...(scale === undefined ? [] : [['weightScale', scale]])].map(([role, value]) => [
        role,
        {
          start: write(`start-${role}`, graph.initializers.get(value)),
          gradient: write(role, found[result.gradients.get(value)]),
        },
      ]),
    ),
    gradients: Object.fromEntries(
      ['x', 'weight', 'bias'].map((value) => [value, write(`d-${value}`, found[result.gradients.get(value)])]),
    ),
  }
}

/** Writes all cases into a folder. */
export async function qatCases(folder) {
  const runtime = await createNodeRuntime({ threads: 1 })
  const cases = []
  for (const algorithm of ['ulq', 'lsq', 'lsq+'])
    for (const weights of ['arq', 'ulq', 'lsq'])
      for (const relu of [true, false])
        for (const bits of [8, 4]) {
          const name = `${algorithm}-${weights}-${relu ? 'relu' : 'plain'}-${bits}`
          const options = { relu, bits, algorithm, weights, perChannel: weights !== 'ulq' }
          cases.push(await caseOf(runtime, folder, name, options))
        }
  return cases
}
