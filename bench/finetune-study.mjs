// npm run study:finetune [-- --models resnet56-cifar10 --fractions 0.5,0.25 --methods tucker,spatial,cp --epochs 5]:
// CIFAR-10 networks decomposed to a share of their MACs and fine-tuned, with and without the original as teacher.
// Takes minutes per row; rows that out/study/finetune.json already has are not measured again, and a row that was
// interrupted goes on from its last checkpoint.
// A model is a file of the shared models, or a path to an .onnx file such as that of examples/vgg16-cifar10.
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  calibrationFeeds,
  collectSiteMoments,
  createNodeRuntime,
  datasets,
  decompose,
  evaluate,
  finetune,
  formatTable,
  loadModel,
} from 'whittle-nn/node'

const { values } = parseArgs({
  options: {
    models: { type: 'string', default: 'resnet56-cifar10' },
    fractions: { type: 'string', default: '0.5,0.25' },
    methods: { type: 'string', default: 'tucker,spatial,cp' },
    teachers: { type: 'string', default: 'yes,no' },
    align: { type: 'string', default: '4' },
    samples: { type: 'string', default: '512' },
    epochs: { type: 'string', default: '5' },
    lr: { type: 'string', default: '0.02' },
    batch: { type: 'string', default: '128' },
    preprocess: { type: 'string', default: 'imagenet' },
    limit: { type: 'string' },
  },
})
const shared = process.env.WHITTLE_SHARED ?? '../shared'
const cifar = join(shared, 'data', 'cifar10')
if (!existsSync(cifar)) {
  console.log(`Skipped: ${cifar} does not exist; set WHITTLE_SHARED to the folder with models/ and data/.`)
  process.exit(0)
}

const FOLDER = join('out', 'study')
const RESULTS = join(FOLDER, 'finetune.json')
mkdirSync(FOLDER, { recursive: true })
const rows = existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, 'utf8')) : []
function keep(row) {
  rows.push(row)
  writeFileSync(`${RESULTS}.part`, `${JSON.stringify(rows, null, 2)}\n`)
  renameSync(`${RESULTS}.part`, RESULTS)
}

const { preprocess } = values
const [align, epochs, batch, lr] = [values.align, values.epochs, values.batch, values.lr].map(Number)
const limit = values.limit === undefined ? undefined : Number(values.limit)
const runtime = await createNodeRuntime()
const train = await datasets.cifar10(cifar, { split: 'train' })
const test = await datasets.cifar10(cifar, { split: 'test' })
const top1Of = async (model) => (await evaluate(model, { data: test, preprocess }, runtime)).top1

for (const name of values.models.split(',')) {
  const path = name.endsWith('.onnx') ? name : join(shared, 'models', 'onnx', `${name}.onnx`)
  const original = await loadModel(path)
  const feeds = calibrationFeeds(original, train, { preprocess, limit: Number(values.samples), seed: 0 })
  let moments
  let before
  for (const fraction of values.fractions.split(',').map(Number))
    for (const method of values.methods.split(',')) {
      let small
      let record
      let decomposed
      for (const teacher of values.teachers.split(',')) {
        const about = {
          model: basename(path, '.onnx'),
          fraction,
          method,
          teacher,
          align,
          epochs,
          lr,
          batch,
          limit: limit ?? train.size,
        }
        if (rows.some((row) => Object.entries(about).every(([key, value]) => row[key] === value))) continue
        before ??= await top1Of(original)
        moments ??= await collectSiteMoments(original, feeds, {}, runtime)
        const budget = { metric: 'macs', fraction }
        if (small === undefined) {
          ;({ model: small, record } = await decompose(original, { method, align, budget, moments }, runtime))
          decomposed = await top1Of(small)
        }
        const checkpoint = join(FOLDER, 'finetune', Object.values(about).join('-'))
        const { model: tuned, record: tuning } = await finetune(
          small,
          {
            data: train,
            limit,
            epochs,
            batch,
            preprocess,
            teacher: teacher === 'yes' ? original : undefined,
            lr,
            schedule: { kind: 'cosine', warmup: 0.05 },
            augmentation: { crop: 4, flip: true },
            checkpoint,
            resume: true,
          },
          runtime,
        )
        rmSync(checkpoint, { recursive: true, force: true })
        const row = {
          ...about,
          macs: record.after.macs / record.before.macs,
          parameters: record.after.parameters / record.before.parameters,
          before,
          decomposed,
          tuned: await top1Of(tuned),
          seconds: Math.round(tuning.milliseconds.total / 1000),
        }
        keep(row)
        console.error(JSON.stringify(row))
      }
    }
}

const percent = (share) => (100 * share).toFixed(2)
console.log(
  formatTable(
    [
      'model',
      'method',
      'MACs %',
      'parameters %',
      'teacher',
      'epochs',
      'original',
      'decomposed',
      'fine-tuned',
      'points lost',
      'seconds',
    ],
    rows
      .map((row) => [
        row.model,
        row.method,
        percent(row.macs),
        percent(row.parameters),
        row.teacher,
        row.epochs,
        percent(row.before),
        percent(row.decomposed),
        percent(row.tuned),
        (100 * (row.before - row.tuned)).toFixed(2),
        row.seconds,
      ])
      .map((cells) => cells.map(String)),
  ),
)
