/**
 * The nodes and constants that each form of {@link WeightOnlyStep} puts in a layer's place, by the names that ONNX
 * Runtime's own quantizers give them.
 */
import { createNode, type Graph, intAttribute, type NameGenerator, type Node } from '../../../graph/index.ts'
import { DTYPES, Tensor, toFloat32 } from '../../../tensor/index.ts'
import type { Quantization } from '../scheme.ts'
import { dequantizeWeight, integerTensor, quantizeWeight, weightError, weightQuantization } from '../weights.ts'
import { fromBnb4, toBnb4 } from './bnb4-blocks.ts'
import {
  type FourBitMatrix,
  fromFourBitBlocks,
  levelsOf,
  MIDDLE,
  packRows,
  toFourBitBlocks,
} from './four-bit-blocks.ts'
import type { Bnb4Step, FourBitStep, IntegerStep, WeightOnlyStep } from './plan.ts'

/** A weight as stored, with what was lost. */
interface Stored {
  /** Names of the new initializers, by role. */
  readonly names: Readonly<Record<string, string>>
  readonly relativeError: number
}

/** What replaces a layer. */
export interface Emitted {
  readonly nodes: readonly Node[]
  readonly relativeError: number
  /** Values of float32 that the model did not have. */
  readonly floats: readonly string[]
}

/** A layer whose weight is to be replaced. */
export interface Layer {
  readonly node: Node
  readonly weight: Tensor
  /** Whether the weight is `[out, in]`. */
  readonly outputFirst: boolean
  /** Name of the bias, of Gemm. */
  readonly biasName: string | undefined
}

/** Writes layers into a graph; weights that several layers share are stored once. */
export class WeightOnlyEmitter {
  readonly #graph: Graph
  readonly #names: NameGenerator
  readonly #stored = new Map<string, Stored>()
  /** Activations that are quantized already, by name. */
  readonly #quantized = new Map<string, readonly [string, string, string]>()

  constructor(graph: Graph, names: NameGenerator) {
    this.#graph = graph
    this.#names = names
  }

  /** The nodes that a step puts in place of a layer. */
  emit(step: WeightOnlyStep, layer: Layer): Emitted {
    switch (step.form) {
      case 'matmul-nbits':
        return this.#matMulNBits(step, layer)
      case 'qdq-blocks':
        return this.#dequantizedBlocks(step, layer)
      case 'gather-blocks':
        return this.#gatherBlocks(step, layer)
      case 'bnb4':
        return this.#matMulBnb4(step, layer)
      case 'dynamic':
        return this.#dynamic(step, layer)
      case 'gather-integers':
        return this.#gatherIntegers(step, layer)
    }
  }

  #store(
    step: WeightOnlyStep,
    layer: Layer,
    make: () => { tensors: Record<string, Tensor>; relativeError: number },
  ): Stored {
    const { node: _node, op: _op, ...settings } = step
    const key = JSON.stringify([settings, layer.outputFirst])
    let stored = this.#stored.get(key)
    if (!stored) {
      const { tensors, relativeError } = make()
      const names: Record<string, string> = {}
      for (const [role, tensor] of Object.entries(tensors)) {
        names[role] = this.#names.fresh(`${step.weight}_${role}`)
        this.#graph.initializers.set(names[role], tensor)
      }
      stored = { names, relativeError }
      this.#stored.set(key, stored)
    }
    return stored
  }

  #node(
    opType: string,
    inputs: readonly string[],
    outputs: readonly string[],
    attributes: Parameters<typeof createNode>[3],
    name: string,
  ): Node {
    return createNode(opType, inputs, outputs, attributes, this.#names.fresh(name))
  }

  /** The layer's output through a product's own, with the bias added; Gemm only. */
  #withBias({ node, biasName }: Layer, product: (output: string) => Node[]): Pick<Emitted, 'nodes' | 'floats'> {
    const output = node.outputs[0]!
    if (biasName === undefined) return { nodes: product(output), floats: [] }
    const inner = this.#names.fresh(`${output}_MatMul`)
    const sum = this.#node('Add', [inner, biasName], [output], {}, `${node.name}_Add`)
    return { nodes: [...product(inner), sum], floats: [inner] }
  }

  #matMulNBits(step: FourBitStep, layer: Layer): Emitted {
    const [inputs, outputs] = extentsOf(layer)
    const { names, relativeError } = this.#store(step, layer, () => {
      const matrix = blocksOf(step, layer)
      const blocks = Math.ceil(inputs / step.block)
      const packed = Tensor.of(packRows(matrix.levels, step.block), [outputs, blocks, step.block / 2])
      const scales = Tensor.of(matrix.scales, [outputs * blocks])
      const zeros = packRows(matrix.zeroPoints, blocks, MIDDLE)
      const zeroPoints = Tensor.of(zeros, [zeros.length])
      return {
        tensors: { Q4: packed, scales, ...(step.symmetric ? {} : { zero_points: zeroPoints }) },
        relativeError: blockError(matrix, layer),
      }
    })
    const operands = [names.Q4!, names.scales!, ...(step.symmetric ? [] : [names.zero_points!])]
    const attributes = {
      K: inputs,
      N: outputs,
      bits: 4,
      block_size: step.block,
      accuracy_level: step.accuracyLevel === 0 ? undefined : step.accuracyLevel,
    }
    const { node } = layer
    const product = (output: string): Node[] => [
      this.#node('com.microsoft::MatMulNBits', [node.inputs[0]!, ...operands], [output], attributes, `${node.name}_Q4`),
    ]
    return { ...this.#withBias(layer, product), relativeError }
  }

  #dequantizedBlocks(step: FourBitStep, layer: Layer): Emitted {
    const [inputs, outputs] = extentsOf(layer)
    const { names, relativeError } = this.#store(step, layer, () => {
      const matrix = blocksOf(step, layer)
      return {
        tensors: blockTensors('DQ_', matrix, step.symmetric, [inputs, outputs], false),
        relativeError: blockError(matrix, layer),
      }
    })
    const { node } = layer
    const weight = this.#names.fresh(`${names.DQ_Q4!}_output`)
    const operands = [names.DQ_Q4!, names.DQ_scales!, ...(step.symmetric ? [] : [names.DQ_zero_points!])]
    const product = (output: string): Node[] => [
      this.#node('DequantizeLinear', operands, [weight], { axis: 0, block_size: step.block }, `${node.name}_DQ_Q4`),
      this.#node('MatMul', [node.inputs[0]!, weight], [output], {}, `${node.name}_matmul_Q4`),
    ]
    const { nodes, floats } = this.#withBias(layer, product)
    return { nodes, floats: [weight, ...floats], relativeError }
  }

  #gatherBlocks(step: FourBitStep, layer: Layer): Emitted {
    const { node, weight } = layer
    const { names, relativeError } = this.#store(step, layer, () => {
      const matrix = blocksOf(step, layer)
      return {
        tensors: blockTensors('', matrix, step.symmetric, weight.shape, true),
        relativeError: blockError(matrix, layer),
      }
    })
    const operands = [names.Q4!, node.inputs[1]!, names.scales!, ...(step.symmetric ? [] : [names.zero_points!])]
    const attributes = { gather_axis: 0, quantize_axis: 1, block_size: step.block }
    const gather = this.#node(
      'com.microsoft::GatherBlockQuantized',
      operands,
      [node.outputs[0]!],
      attributes,
      `${node.name}_Q4`,
    )
    return { nodes: [gather], floats: [], relativeError }
  }

  #matMulBnb4(step: Bnb4Step, layer: Layer): Emitted {
    const [inputs, outputs] = extentsOf(layer)
    const { block, codes } = step
    const { names, relativeError } = this.#store(step, layer, () => {
      const matrix = toBnb4(toFloat32(layer.weight), inputs, outputs, {
        block,
        type: codes,
        outputFirst: layer.outputFirst,
      })
      const restored = Tensor.of(fromBnb4(matrix, layer.outputFirst), layer.weight.shape)
      return {
        tensors: {
          Bnb4: Tensor.of(matrix.packed, [matrix.packed.length]),
          absmax: Tensor.of(matrix.absmax, [matrix.absmax.length]),
        },
        relativeError: weightError(layer.weight, restored).relativeError,
      }
    })
    const { node } = layer
    const attributes = { K: inputs, N: outputs, block_size: block, quant_type: codes === 'nf4' ? 1 : 0 }
    const product = (output: string): Node[] => [
      this.#node(
        'com.microsoft::MatMulBnb4',
        [node.inputs[0]!, names.Bnb4!, names.absmax!],
        [output],
        attributes,
        `${node.name}_Bnb4`,
      ),
    ]
    return { ...this.#withBias(layer, product), relativeError }
  }

  #dynamic(step: IntegerStep, layer: Layer): Emitted {
    const { names, relativeError } = this.#store(step, layer, () =>
      storedIntegers(step, inputFirst(layer), step.perChannel ? 1 : null),
    )
    const { node } = layer
    const { nodes: head, operands } = this.#quantizeActivation(node.inputs[0]!)
    const [values, scale, zeroPoint] = operands
    const own = `${node.name}_quant`
    const sum = this.#names.fresh(`${node.outputs[0]!}_output_quantized`)
    const cast = this.#names.fresh(`${sum}_cast_output`)
    const scales = this.#names.fresh(`${own}_scales_mul:0`)
    const product = (output: string): Node[] => [
      this.#node('MatMulInteger', [values, names.quantized!, zeroPoint, names.zero_point!], [sum], {}, own),
      this.#node('Cast', [sum], [cast], { to: DTYPES.float32.code }, `${sum}_cast`),
      this.#node('Mul', [scale, names.scale!], [scales], {}, `${own}_scales_mul`),
      this.#node('Mul', [cast, scales], [output], {}, `${own}_output_scale_mul`),
    ]
    const { nodes, floats } = this.#withBias(layer, product)
    return { nodes: [...head, ...nodes], floats: [cast, scales, ...floats], relativeError }
  }

  /** Quantizes an activation while running; layers that read the same one share it. */
  #quantizeActivation(name: string): { nodes: Node[]; operands: readonly [string, string, string] } {
    const known = this.#quantized.get(name)
    if (known) return { nodes: [], operands: known }
    const operands = [
      this.#names.fresh(`${name}_quantized`),
      this.#names.fresh(`${name}_scale`),
      this.#names.fresh(`${name}_zero_point`),
    ] as const
    this.#quantized.set(name, operands)
    return { nodes: [this.#node('DynamicQuantizeLinear', [name], operands, {}, `${name}_QuantizeLinear`)], operands }
  }

  #gatherIntegers(step: IntegerStep, layer: Layer): Emitted {
    const { names, relativeError } = this.#store(step, layer, () => storedIntegers(step, layer.weight, null))
    const { node } = layer
    const output = node.outputs[0]!
    const integers = this.#names.fresh(`${output}_quantized`)
    return {
      nodes: [
        { ...node, inputs: [names.quantized!, ...node.inputs.slice(1)], outputs: [integers] },
        this.#node(
          'DequantizeLinear',
          [integers, names.scale!, names.zero_point!],
          [output],
          {},
          `${output}_DequantizeLinear`,
        ),
      ],
      floats: [],
      relativeError,
    }
  }
}

/** Inputs and outputs of a linear layer, or columns and rows of a table. */
function extentsOf({ weight, outputFirst }: Layer): [inputs: number, outputs: number] {
  const [first, second] = weight.shape as [number, number]
  return outputFirst ? [second, first] : [first, second]
}

function blocksOf(step: { readonly block: number; readonly symmetric: boolean }, layer: Layer): FourBitMatrix {
  const [inputs, outputs] = extentsOf(layer)
  const { block, symmetric } = step
  return toFourBitBlocks(toFloat32(layer.weight), inputs, outputs, { block, symmetric, outputFirst: layer.outputFirst })
}

function blockError(matrix: FourBitMatrix, { weight, outputFirst }: Layer): number {
  return weightError(weight, Tensor.of(fromFourBitBlocks(matrix, outputFirst), weight.shape)).relativeError
}

/** Blocks as standard 4-bit tensors: signed without zero points, unsigned with them. */
function blockTensors(
  prefix: string,
  matrix: FourBitMatrix,
  symmetric: boolean,
  shape: readonly number[],
  outputFirst: boolean,
): Record<string, Tensor> {
  const type = symmetric ? 'int4' : 'uint4'
  const blocks = Math.ceil(matrix.inputs / matrix.block)
  const signed = Int8Array.from(levelsOf(matrix, outputFirst), (level) => (symmetric ? level - MIDDLE : level))
  const scaleShape = outputFirst ? [matrix.outputs, blocks] : [blocks, matrix.outputs]
  const ordered = <T extends Float32Array | Uint8Array>(values: T): T => {
    const result = values.slice() as T
    if (!outputFirst)
      for (let o = 0; o < matrix.outputs; o++)
        for (let b = 0; b < blocks; b++) result[b * matrix.outputs + o] = values[o * blocks + b]!
    return result
  }
  return {
    [`${prefix}Q4`]: integerTensor(signed, shape, type),
    [`${prefix}scales`]: Tensor.of(ordered(matrix.scales), scaleShape),
    ...(symmetric ? {} : { [`${prefix}zero_points`]: integerTensor(ordered(matrix.zeroPoints), scaleShape, type) }),
  }
}

/** A weight of 8-bit integers, with scale and zero point. */
function storedIntegers(
  step: { readonly type: 'int8' | 'uint8'; readonly bits: number },
  weight: Tensor,
  axis: number | null,
) {
  const quantization = weightQuantization(weight, { type: step.type, bits: step.bits, axis })
  const integers = quantizeWeight(weight, quantization)
  return {
    tensors: {
      quantized: integers,
      scale: parameter(quantization, Float32Array.from(quantization.scale)),
      zero_point: parameter(
        quantization,
        integerTensor(quantization.zeroPoint, [quantization.zeroPoint.length], step.type).data,
      ),
    },
    relativeError: weightError(weight, dequantizeWeight(integers, quantization)).relativeError,
  }
}

const parameter = ({ axis }: Quantization, data: Parameters<typeof Tensor.of>[0]): Tensor =>
  Tensor.of(data, axis === null ? [] : [data.length])

/** The weight as `[in, out]`, as MatMulInteger wants it. */
function inputFirst(layer: Layer): Tensor {
  if (!layer.outputFirst) return layer.weight
  const [inputs, outputs] = extentsOf(layer)
  const from = toFloat32(layer.weight)
  const to = new Float32Array(from.length)
  for (let o = 0; o < outputs; o++) for (let i = 0; i < inputs; i++) to[i * outputs + o] = from[o * inputs + i]!
  return Tensor.of(to, [inputs, outputs])
}

/** Whether a Gather's table is read as rows of `[outputs, inputs]`. */
export function tableLayer(node: Node, weight: Tensor): Layer {
  return { node, weight, outputFirst: intAttribute(node, 'axis', 0) === 0, biasName: undefined }
}
