// node scripts/make-demo-data.mjs: makes examples/ from the shared models and data (WHITTLE_SHARED, default ../shared).
// The result is in the repository; run this only to change the selection. Needs `npm run build` first.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createRandom } from '../dist/core/index.js'
import { PREPROCESS_KEY } from '../dist/data/index.js'
import { decodeModel, encodeModel } from '../dist/onnx/index.js'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
const SHARED = resolve(ROOT, process.env.WHITTLE_SHARED ?? '../shared')
const RECORD = 3073
const CLASSES = 10
const SEED = 0

// 1,000 pictures in all, 3.07 MB: enough for ± 1 % of accuracy and for second moments of every layer.
const SETS = [
  { file: 'test_batch.bin', perClass: 75 },
  { file: 'data_batch_1.bin', perClass: 25 },
]

/** A random choice of records, as many of each class; classes take turns, so that any first part is balanced too. */
function chooseRecords(bytes, perClass) {
  const byClass = Array.from({ length: CLASSES }, () => [])
  for (let record = 0; record * RECORD < bytes.length; record++) byClass[bytes[record * RECORD]].push(record)
  const random = createRandom(SEED)
  const chosen = byClass.map((records) => random.shuffle(Int32Array.from(records)).subarray(0, perClass))
  return Array.from({ length: CLASSES * perClass }, (_, i) => chosen[i % CLASSES][Math.floor(i / CLASSES)])
}

const data = join(ROOT, 'examples', 'data', 'cifar10')
mkdirSync(data, { recursive: true })
for (const { file, perClass } of SETS) {
  const bytes = readFileSync(join(SHARED, 'data', 'cifar10', file))
  const records = chooseRecords(bytes, perClass)
  writeFileSync(
    join(data, file),
    Buffer.concat(records.map((record) => bytes.subarray(record * RECORD, (record + 1) * RECORD))),
  )
  console.log(`${file}: ${records.length} pictures`)
}

const models = join(ROOT, 'examples', 'models')
mkdirSync(models, { recursive: true })
const model = decodeModel(readFileSync(join(SHARED, 'models', 'onnx', 'resnet20-cifar10.onnx')))
const preprocess = { name: 'imagenet', range: [0, 1], mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
model.metadata.set(PREPROCESS_KEY, JSON.stringify(preprocess))
writeFileSync(join(models, 'resnet20-cifar10.onnx'), encodeModel(model))
console.log(`resnet20-cifar10.onnx: ${PREPROCESS_KEY} = ${JSON.stringify(preprocess)}`)
