/**
 * What is known of the places where networks run, as data: which integers they take, which they are fast with, and
 * how much time the others cost.
 *
 * Ratios are times of float32 over times of integers, above 1 is faster; measured with ONNX Runtime 1.30 on an x86-64
 * processor with AVX-512 VNNI and AMX, one thread, networks of 3 × 3 convolutions of 64 to 512 channels (see
 * docs/quantization.md). Where a target can be measured on the spot, what is measured there counts instead.
 */
import type { IntegerType } from '../scheme.ts'

/** Where a network is going to run; `onnx` is nowhere in particular. */
export type TargetName = 'node-cpu' | 'wasm' | 'webgpu' | 'tensorrt' | 'ascend' | 'onnx'

/** A flavour that a target is slow with, or does not take at all. */
export interface SlowFlavour {
  /** Measured time of float over time of integers; `null` where it cannot be measured or does not run. */
  readonly ratio: number | null
  readonly reason: string
}

/** What is known of a target. */
export interface TargetProfile {
  readonly about: string
  /** What is written when nobody chooses; `null` where integers do not pay. */
  readonly preferred: { readonly activations: IntegerType; readonly weights: IntegerType } | null
  /** Whether activations have their zero in the middle. */
  readonly symmetricActivations: boolean
  /** Whether the runtime at hand can be asked, since it is the kind that the network will run on. */
  readonly measurable: boolean
  /** Operators on integers; `undefined`: all that have an integer form. */
  readonly operators: ReadonlySet<string> | undefined
  /** Operators whose weights have one scale only. */
  readonly perTensorOperators: ReadonlySet<string>
  /** Whether biases stay float32 instead of int32. */
  readonly floatBiases: boolean
  /** Why a flavour is not written; `undefined` when it is fine. */
  readonly slow: (activations: IntegerType, weights: IntegerType) => SlowFlavour | undefined
  /** What to do instead of a slow flavour. */
  readonly alternative: string
}

const NARROW: ReadonlySet<IntegerType> = new Set<IntegerType>(['uint8', 'int8'])
const NONE: ReadonlySet<string> = new Set()

const PAIRED =
  'ONNX Runtime on x86 computes with int8 activations only where one node reads them, and leaves convolutions around residual sums in float, between conversions'
const UNFUSED = 'ONNX Runtime has no such kernels and computes in float, between conversions'

function cpuSlow(activations: IntegerType, weights: IntegerType): SlowFlavour | undefined {
  if (!NARROW.has(activations)) return { ratio: 0.7, reason: UNFUSED }
  if (!NARROW.has(weights)) return { ratio: weights === 'int4' || weights === 'uint4' ? 0.6 : 0.8, reason: UNFUSED }
  if (activations === 'int8') return { ratio: 0.65, reason: PAIRED }
  if (weights === 'uint8') return { ratio: 0.9, reason: 'ONNX Runtime’s kernels for uint8 weights have no VNNI' }
  return undefined
}

function wasmSlow(activations: IntegerType, weights: IntegerType): SlowFlavour | undefined {
  if (!NARROW.has(activations) || !NARROW.has(weights)) return { ratio: null, reason: UNFUSED }
  return activations === 'int8' ? { ratio: 0.95, reason: PAIRED } : undefined
}

const onlyInt8 =
  (who: string) =>
  (activations: IntegerType, weights: IntegerType): SlowFlavour | undefined =>
    activations === 'int8' && weights === 'int8' ? undefined : { ratio: null, reason: `${who} takes int8 only` }

/** Profiles by name. */
export const TARGETS: Readonly<Record<TargetName, TargetProfile>> = {
  'node-cpu': {
    about: 'ONNX Runtime on the CPU, as in Node and Python',
    preferred: { activations: 'uint8', weights: 'int8' },
    symmetricActivations: false,
    measurable: true,
    operators: undefined,
    perTensorOperators: NONE,
    floatBiases: false,
    slow: cpuSlow,
    alternative: 'uint8 activations with int8 weights',
  },
  wasm: {
    about: 'ONNX Runtime Web in WebAssembly',
    preferred: { activations: 'uint8', weights: 'int8' },
    symmetricActivations: false,
    measurable: true,
    operators: undefined,
    perTensorOperators: NONE,
    floatBiases: false,
    slow: wasmSlow,
    alternative: 'uint8 activations with int8 weights',
  },
  webgpu: {
    about: 'ONNX Runtime Web on WebGPU',
    preferred: null,
    symmetricActivations: false,
    measurable: false,
    operators: undefined,
    perTensorOperators: NONE,
    floatBiases: false,
    slow: () => ({
      ratio: null,
      reason: 'ONNX Runtime’s WebGPU provider has no integer layers but those of 4-bit weights',
    }),
    alternative: 'weights alone: format fp16, q4 or q4f16',
  },
  tensorrt: {
    about: 'NVIDIA TensorRT, explicit quantization',
    preferred: { activations: 'int8', weights: 'int8' },
    symmetricActivations: true,
    measurable: false,
    operators: new Set(
      `Add AveragePool Concat Conv ConvTranspose Flatten Gemm GlobalAveragePool MatMul MaxPool Reshape Resize Squeeze
       Transpose Unsqueeze`.split(/\s+/),
    ),
    perTensorOperators: NONE,
    floatBiases: true,
    slow: onlyInt8('TensorRT'),
    alternative: 'int8 activations with int8 weights, both symmetric',
  },
  ascend: {
    about: 'Ascend processors, by what AMCT allows',
    preferred: { activations: 'int8', weights: 'int8' },
    symmetricActivations: false,
    measurable: false,
    operators: new Set('AveragePool Conv ConvTranspose Gemm GlobalAveragePool MatMul'.split(' ')),
    perTensorOperators: new Set(['Gemm', 'MatMul']),
    floatBiases: false,
    slow: onlyInt8('AMCT'),
    alternative: 'int8 activations with int8 weights',
  },
  onnx: {
    about: 'no place in particular: all that ONNX can say',
    preferred: { activations: 'uint8', weights: 'int8' },
    symmetricActivations: false,
    measurable: false,
    operators: undefined,
    perTensorOperators: NONE,
    floatBiases: false,
    slow: () => undefined,
    alternative: 'uint8 activations with int8 weights',
  },
}

/** Names of all targets. */
export const TARGET_NAMES = Object.keys(TARGETS) as readonly TargetName[]
