// Trains VGG-16 with batch normalisation from random weights on CIFAR-10, through the public API.
//
//   npm run setup && node scripts/build.mjs
//   node examples/vgg16-cifar10/train.mjs [--data DIR] [--out DIR] [--epochs 30] [--width 1] [--seed 0] [--threads N]
//
// With the defaults: 89.00 % of the 5,000 test pictures, 4,680 steps of 128, about 1.1 s each on two cores (87 minutes).
// Killed and started again, it goes on from its last checkpoint and ends with the same weights.
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createNodeRuntime, datasets, evaluate, finetune, formatPercent, saveModel, vgg16Bn } from 'whittle-nn/node'

const shared = process.env.WHITTLE_SHARED ?? join(import.meta.dirname, '..', '..', '..', 'shared')
const { values } = parseArgs({
  options: {
    data: { type: 'string', default: join(shared, 'data', 'cifar10') },
    out: { type: 'string', default: join(import.meta.dirname, '..', '..', 'out', 'vgg16-cifar10') },
    epochs: { type: 'string', default: '30' },
    width: { type: 'string', default: '1' },
    seed: { type: 'string', default: '0' },
    threads: { type: 'string' },
  },
})
if (!existsSync(values.data)) {
  console.error(`No CIFAR-10 at ${values.data}. Give the folder of its binary batches: --data DIR.`)
  process.exit(1)
}

const [epochs, seed] = [Number(values.epochs), Number(values.seed)]
const interrupt = new AbortController()
process.once('SIGINT', () => interrupt.abort())
mkdirSync(values.out, { recursive: true })
const runtime = await createNodeRuntime(values.threads === undefined ? {} : { threads: Number(values.threads) })
const data = await datasets.cifar10(values.data, { split: 'train' })

let shown = 0
const { model, record } = await finetune(
  vgg16Bn({ width: Number(values.width), seed }),
  {
    data,
    epochs,
    seed,
    batch: 128,
    preprocess: 'cifar10',
    optimizer: { kind: 'sgd', momentum: 0.9, nesterov: true, weightDecay: 5e-4 },
    lr: 0.1,
    schedule: { kind: 'one-cycle' },
    augmentation: { crop: 4, flip: true },
    loss: [{ kind: 'cross-entropy', labelSmoothing: 0.1 }],
    // From random weights gradients are large at first, and the schedule is made for them.
    clip: {},
    checkpoint: join(values.out, 'checkpoints'),
    checkpointEvery: 50,
    resume: true,
    signal: interrupt.signal,
    onProgress: ({ stage, done, total }) => {
      if (stage !== 'finetune' || performance.now() - shown < 10_000) return
      shown = performance.now()
      console.error(`step ${done} of ${total}`)
    },
    onEntry: ({ epoch, loss, accuracy, lr }) =>
      console.error(`epoch ${epoch}: loss ${loss.toFixed(3)}, ${formatPercent(accuracy)} right, rate ${lr.toFixed(4)}`),
  },
  runtime,
)
const path = join(values.out, 'vgg16-cifar10.onnx')
await saveModel(model, path)
// The weights are the last ones: nothing was chosen by the test pictures.
const { top1, samples } = await evaluate(model, { data: datasets.cifar10(values.data), preprocess: 'cifar10' }, runtime)
console.log(
  `${path}: ${formatPercent(top1)} of ${samples} test pictures after ${record.steps} steps, ` +
    `${record.samplesPerSecond.toFixed(0)} pictures per second`,
)
