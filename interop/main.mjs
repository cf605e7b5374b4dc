// npm run interop: what Whittle computes and writes, checked by other people's programs in Python. Every check says
// what it found, or why it could not run; a difference makes the command fail.
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findPython, missing, PYTHON, pythonEnvironment } from './python.mjs'

const ROOT = join(import.meta.dirname, '..')
const SHARED = process.env.WHITTLE_SHARED ?? join(ROOT, '..', 'shared')
const MODEL = join(SHARED, 'models', 'onnx', 'resnet20-cifar10.onnx')
const TRAINED = join(SHARED, 'models', 'torch', 'cifar10_resnet', 'resnet20-12fca82f.th')
const BUNDLED = join(ROOT, 'examples', 'models', 'resnet20-cifar10.onnx')
const CHECKOUT = process.env.WHITTLE_AMCT

const folder = mkdtempSync(join(tmpdir(), 'whittle-interop-'))

/** Each file of a check is made once, when the first check needs it. */
const once = (make) => {
  let made
  return () => {
    made ??= make()
    return made
  }
}
const jsonFile = (name, value) => {
  const path = join(folder, name)
  writeFileSync(path, JSON.stringify(value))
  return path
}

const spectraCases = once(async () => (await import('./spectra.mjs')).spectra())
const tensorCases = once(async () => (await import('./tensor.mjs')).tensorCases(folder))
const networkJob = once(async () => {
  const { networkJob: make } = await import('./networks.mjs')
  const job = { ...(await make(folder, MODEL)), trained: TRAINED, depth: 20, checkout: CHECKOUT }
  return jsonFile('networks.json', { ...job, spectra: await spectraCases() })
})

const gradientJob = once(async () => {
  const { gradientJob: make } = await import('./gradients.mjs')
  return jsonFile('gradients.json', await make(folder, BUNDLED))
})

const qdqJob = once(async () => {
  const { qdqJob: make } = await import('./qdq-model.mjs')
  return make(folder, MODEL, join(SHARED, 'data', 'cifar10'))
})

const noModels = () =>
  [MODEL, TRAINED].every((path) => existsSync(path))
    ? undefined
    : 'the trained ResNet-20 is not there; WHITTLE_SHARED names the folder of test models.'
const noAmct = () =>
  noModels() ?? (CHECKOUT ? undefined : 'WHITTLE_AMCT does not name a checkout of AMCT’s open source.')

const CHECKS = [
  {
    name: 'factors: Tucker-2, spatial, channel and matrix SVD against TensorLy and NumPy',
    modules: ['numpy', 'scipy', 'onnx', 'tensorly'],
    args: async () => {
      const { oneLayerCases } = await import('./one-layer.mjs')
      return ['factors.py', jsonFile('factors.json', await oneLayerCases(folder))]
    },
  },
  {
    name: 'tensor algebra: the expected values of our tests against TensorLy',
    modules: ['numpy', 'scipy', 'tensorly'],
    args: async () => ['tensor_algebra.py', join(ROOT, 'test', 'fixtures', 'tensorly', 'tensor-algebra.json')],
  },
  {
    name: 'tensor algebra: random data of both types beside TensorLy',
    modules: ['numpy', 'tensorly'],
    args: async () => ['tensor.py', (await tensorCases()).job],
    compare: async () => (await tensorCases()).compare(),
  },
  {
    name: 'tucker: Tucker, tensor trains, robust PCA and SVDs against TensorLy',
    modules: ['numpy', 'scipy', 'tensorly'],
    args: async () => {
      const { tuckerCases } = await import('./tucker.mjs')
      return ['tucker.py', jsonFile('tucker.json', await tuckerCases(folder))]
    },
  },
  {
    name: 'cp: CP decompositions, guarded and non-negative ones, and their helpers against TensorLy',
    modules: ['numpy', 'scipy', 'tensorly'],
    args: async () => {
      const { cpCases } = await import('./cp.mjs')
      return ['cp.py', jsonFile('cp.json', await cpCases(folder))]
    },
  },
  {
    name: 'AdaRound: losses on the way and integers against the same optimisation in PyTorch',
    modules: ['numpy', 'torch'],
    args: async () => {
      const { adaroundCases } = await import('./adaround.mjs')
      return ['adaround.py', jsonFile('adaround.json', await adaroundCases(folder))]
    },
  },
  {
    name: 'ranks: EVBMF and AMCT’s clamp against scipy',
    modules: ['numpy', 'scipy'],
    args: async () => ['evbmf.py', jsonFile('spectra.json', await spectraCases())],
  },
  ...[
    ['original', 'ResNet-20: parameters and outputs in PyTorch', noModels],
    ['tucker', 'ResNet-20, Tucker-2: our factors in PyTorch’s convolutions', noModels],
    ['amct-reads', 'ResNet-20, spatial: AMCT rebuilds it from our decompose_info.json', noAmct],
    ['amct-writes', 'ResNet-20: AMCT’s own decomposition beside --rank amct', noAmct],
  ].map(([check, name, refusal]) => ({
    name,
    modules: ['numpy', 'onnx', 'torch'],
    refusal,
    args: async () => ['networks.py', await networkJob(), check],
  })),
  ...[
    ['resnet20', 'ResNet-20'],
    ['mobilenet', 'MobileNetV2'],
    ['vgg', 'VGG-16 with batch normalisation'],
    ['transformer', 'transformer encoder'],
  ].map(([network, name]) => ({
    name: `gradients of every parameter: ${name} against PyTorch’s autograd`,
    modules: ['numpy', 'onnx', 'torch'],
    args: async () => ['gradients.py', 'compare', await gradientJob(), network],
  })),
  {
    name: 'training steps of ResNet-20: SGD, AdamW, RMSProp and distillation against PyTorch',
    modules: ['numpy', 'onnx', 'torch'],
    args: async () => {
      const { trainingJob } = await import('./training.mjs')
      return ['training.py', jsonFile('training.json', await trainingJob(folder, BUNDLED))]
    },
  },
  {
    name: 'quantization: integers, scales and zero points against onnxruntime.quantization, from the same ranges',
    modules: ['numpy', 'onnx', 'onnxruntime'],
    args: async () => {
      const { quantizationCases } = await import('./quantization.mjs')
      const resnet = existsSync(MODEL) ? MODEL : undefined
      const cases = await quantizationCases(folder, resnet, join(SHARED, 'data', 'cifar10'))
      return ['quantization.py', jsonFile('quantization.json', cases)]
    },
  },
  {
    name: 'accuracy of quantized networks beside onnxruntime.quantization, by calibrator',
    modules: ['numpy', 'onnx', 'onnxruntime'],
    refusal: () => (existsSync(join(SHARED, 'data', 'kws01')) ? undefined : `${SHARED} has no data/kws01.`),
    args: async () => {
      const { accuracyJob } = await import('./quantize-accuracy.mjs')
      const jobs = []
      for (const network of ['ds-cnn', 'resnet20-cifar10']) jobs.push(await accuracyJob(folder, network, SHARED))
      return ['quantize_accuracy.py', jsonFile('accuracy.json', jobs)]
    },
  },
  {
    name: 'weights alone: 4-bit blocks, NF4, FP4, dynamic int8 and float16 of an encoder against ONNX Runtime’s own',
    modules: ['numpy', 'onnx', 'onnxruntime'],
    args: async () => {
      const { weightOnlyCases } = await import('./weight-only.mjs')
      return ['weight_only.py', jsonFile('weight-only.json', await weightOnlyCases(folder))]
    },
  },
  {
    name: 'fake quantization: ULQ, LSQ, LSQ+ and ARQ with their gradients against PyTorch’s autograd',
    modules: ['numpy', 'torch'],
    args: async () => {
      const { qatCases } = await import('./qat.mjs')
      return ['qat.py', jsonFile('qat.json', await qatCases(folder))]
    },
  },
  {
    name: 'TensorQuantOverrides of ours: onnxruntime.quantization writes the constants that we wrote',
    modules: ['numpy', 'onnx', 'onnxruntime'],
    refusal: noModels,
    args: async () => {
      const { overridesCases } = await import('./overrides.mjs')
      const cases = await overridesCases(folder, MODEL, join(SHARED, 'data', 'cifar10'))
      return ['overrides.py', jsonFile('overrides.json', cases)]
    },
  },
  {
    name: 'calibration: ranges against numpy, scipy, torch and onnxruntime.quantization, on the same activations',
    modules: ['numpy', 'scipy', 'onnx', 'onnxruntime', 'torch'],
    refusal: noModels,
    args: async () => {
      const { calibrationCases } = await import('./calibration.mjs')
      return ['calibration.py', jsonFile('calibration.json', await calibrationCases(folder, SHARED))]
    },
  },
  {
    name: 'a quantized model made in Python: read, evaluated, analysed beside ONNX Runtime’s own debugger',
    modules: ['numpy', 'onnx', 'onnxruntime'],
    refusal: noModels,
    args: async () => ['qdq_model.py', jsonFile('qdq-model.json', (await qdqJob()).job)],
    compare: async () => (await qdqJob()).compare(),
  },
  {
    name: 'roll-back: the binary search step by step and similarities beside AMCT’s own code',
    modules: ['numpy'],
    refusal: () => (CHECKOUT ? undefined : 'WHITTLE_AMCT does not name a checkout of AMCT’s open source.'),
    args: async () => {
      const { rollbackCases } = await import('./rollback.mjs')
      return ['rollback.py', CHECKOUT, jsonFile('rollback.json', rollbackCases())]
    },
  },
  {
    name: 'AMCT’s configurations and records: google.protobuf and AMCT’s own expansion beside ours',
    modules: ['numpy', 'google.protobuf'],
    refusal: () => (CHECKOUT ? undefined : 'WHITTLE_AMCT does not name a checkout of AMCT’s open source.'),
    args: async () => {
      const { amctFiles } = await import('./amct-files.mjs')
      return ['amct_files.py', 'check', await amctFiles(folder)]
    },
  },
]

async function runCheck({ modules, refusal, args, compare }, python) {
  const reason = missing(python, modules) ?? refusal?.()
  if (reason) return { skipped: reason }
  const [script, ...rest] = await args()
  const options = { env: { ...process.env, ...pythonEnvironment() }, maxBuffer: 2 ** 26 }
  try {
    const { stdout } = await promisify(execFile)(
      PYTHON,
      [join(import.meta.dirname, 'python', script), ...rest],
      options,
    )
    const result = JSON.parse(stdout.trimEnd().split('\n').at(-1))
    return compare && result.problems.length === 0 ? await compare() : result
  } catch (error) {
    return { problems: [(error.stderr ?? error.message).trim().split('\n').slice(-3).join(' ')] }
  }
}

let failed = 0
let skipped = 0
try {
  const python = await findPython([...new Set(CHECKS.flatMap(({ modules }) => modules))])
  for (const check of CHECKS) {
    const started = performance.now()
    const result = await runCheck(check, python)
    const seconds = ((performance.now() - started) / 1000).toFixed(1)
    if (result.skipped) {
      skipped++
      console.log(`skip  ${check.name}: ${result.skipped}`)
    } else if (result.problems.length > 0) {
      failed++
      console.log(`FAIL  ${check.name} (${seconds} s)`)
      for (const problem of result.problems.slice(0, 10)) console.log(`      ${problem}`)
    } else console.log(`ok    ${check.name}: ${result.found} (${seconds} s)`)
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
const agreed = CHECKS.length - failed - skipped
console.log(`${agreed} agree, ${failed} differ, ${skipped} skipped.`)
process.exit(failed === 0 ? 0 : 1)
