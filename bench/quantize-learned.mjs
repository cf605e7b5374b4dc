// Variants of the quantization study that learn: integers chosen on data, and quantization-aware training.
import { applyQuantize, fakeQuantize, learnRounding, observeShapes, planFrom, quantizationBasis } from 'whittle-nn'
import { finetune } from 'whittle-nn/node'

const METHODS = { gptq: 'gptq', adaround: 'adaround', blocks: 'block' }
/** What training calls the bits of the study. */
const QAT_BITS = { W8A8: 'int8', W4A8: 'w4a8', W4A4: 'w4a4' }

/**
 * Learned variants of one network at some bits.
 *
 * @returns `[name, make]` of each.
 */
export function learnedVariants({ model, bits, options, feeds, network, runtime, epochs }) {
  const variants = Object.entries(METHODS).map(([name, method]) => [
    name,
    () => withLearnedRounding(model, options, feeds, method, runtime),
  ])
  // Training needs many samples: the network of keywords has 200, that of pictures from ImageNet 50.
  if (network.train.size >= 10_000) variants.push(['qat', () => trained(model, bits, network, epochs, runtime)])
  return variants
}

async function withLearnedRounding(model, options, data, method, runtime) {
  const { evaluator } = runtime
  const basis = await quantizationBasis(model, { data, ...options }, runtime)
  const plan = planFrom(basis)
  const layers = plan.steps.flatMap(({ node, weight }) => (weight ? [{ node, quantization: weight.quantization }] : []))
  const { rounded } = await learnRounding(
    basis.model,
    fakeQuantize(basis.model, plan).model,
    layers,
    { method },
    {
      ...runtime,
      data,
      shapes: basis.calibrated.shapes,
      observe: (subject, shapes) => observeShapes(evaluator, subject, shapes),
    },
  )
  return applyQuantize(basis.model, plan, { rounded }).model
}

async function trained(model, bits, { train, preprocess }, epochs, runtime) {
  const options = {
    data: train,
    preprocess,
    teacher: model,
    epochs,
    batch: 128,
    optimizer: { kind: 'sgd', momentum: 0.9, weightDecay: 1e-4 },
    lr: 0.005,
    qat: { bits: QAT_BITS[bits] },
  }
  return (await finetune(model, options, runtime)).model
}
