// Variants of the quantization study that learn: integers chosen on data, and quantization-aware training.
import { quantize } from 'whittle-nn'
import { finetune } from 'whittle-nn/node'

/** Roundings by the study's name for them. */
const ROUNDINGS = { gptq: 'gptq', blocks: 'block', adaround: 'adaround' }
/** Long ones, only when asked for by name: AdaRound with as many steps as AMCT's default has. */
const LONG_ROUNDINGS = { '10,000 steps of adaround': { method: 'adaround', iterations: 10_000 } }
/** What training calls the bits of the study. */
const QAT_BITS = { W8A8: 'int8', W4A8: 'w4a8', W4A4: 'w4a4' }

/**
 * Learned variants of one network at some bits.
 *
 * @returns `[name, make]` of each.
 */
export function learnedVariants({ model, bits, options, feeds, network, runtime, epochs, withLong }) {
  const variants = Object.entries({ ...ROUNDINGS, ...(withLong ? LONG_ROUNDINGS : {}) }).map(([name, rounding]) => [
    name,
    async () => (await quantize(model, { data: feeds, ...options, rounding }, runtime)).model,
  ])
  // Training needs many samples: the network of keywords has 200, that of pictures from ImageNet 50.
  if (network.train.size >= 10_000) variants.push(['qat', () => trained(model, bits, network, epochs, runtime)])
  return variants
}

async function trained(model, bits, { train, preprocess }, epochs, runtime) {
  const options = {
    data: train,
    preprocess,
    teacher: model,
    epochs,
    batch: 128,
    lr: 0.005,
    qat: { bits: QAT_BITS[bits] },
  }
  return (await finetune(model, options, runtime)).model
}
