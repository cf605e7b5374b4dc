import { describe, expect, it } from 'vitest'
import { expectGradient } from '../../../test/support/gradient-check.ts'
import { evaluator } from '../../../test/support/run-model.ts'
import { randomTensor, relativeErrorOf } from '../../../test/support/tensors.ts'
import { observeShapes } from '../../engine/index.ts'
import { createGraph, createModel, GraphBuilder, tensorType } from '../../graph/index.ts'
import { toFloat64 } from '../../tensor/index.ts'
import { Emitter } from '../emitter.ts'
import { gradient } from '../gradient.ts'
import type { ConvGeometry } from './conv-geometry.ts'
import { CONVOLUTION_FORMULATIONS, type ConvolutionGradient, convolutionRules } from './convolution.ts'

type Case = readonly [
  name: string,
  x: readonly number[],
  weight: readonly number[],
  attributes?: Readonly<Record<string, number | string | readonly number[]>>,
]

// ONNX Runtime has no float64 kernels of convolutions. They are linear in each operand, so that float32 differences of
// any width are exact but for rounding.
const LINEAR = { precision: 'float32', step: 1 } as const
const TOLERANCE = { numeric: 1e-5 }

const CONVOLUTIONS: readonly Case[] = [
  ['3x3, padded', [2, 3, 5, 6], [4, 3, 3, 3], { pads: [1, 1, 1, 1] }],
  ['1x1', [2, 3, 4, 3], [2, 3, 1, 1]],
  ['1x1 of stride 2 with a remainder', [2, 3, 4, 5], [2, 3, 1, 1], { strides: [2, 2] }],
  ['3x3 of stride 2 with a remainder', [2, 3, 6, 7], [2, 3, 3, 3], { pads: [1, 1, 1, 1], strides: [2, 2] }],
  ['5x3 of strides 3 and 1, padded unevenly', [1, 2, 8, 5], [3, 2, 5, 3], { pads: [2, 0, 1, 2], strides: [3, 1] }],
  ['dilated', [1, 2, 7, 7], [2, 2, 3, 2], { dilations: [2, 3], pads: [2, 1, 0, 2] }],
  ['dilated and strided', [1, 9, 9, 8], [2, 9, 3, 3], { dilations: [2, 1], pads: [1, 2, 2, 1], strides: [2, 3] }],
  ['padded by more than the kernel', [1, 2, 3, 3], [2, 2, 2, 2], { pads: [3, 2, 2, 4] }],
  ['grouped', [2, 4, 5, 4], [6, 2, 3, 3], { group: 2, pads: [1, 1, 1, 1] }],
  ['grouped and strided', [1, 6, 5, 6], [3, 2, 2, 3], { group: 3, strides: [2, 1], pads: [0, 1, 1, 0] }],
  ['depthwise', [2, 4, 5, 4], [4, 1, 3, 3], { group: 4, pads: [1, 1, 1, 1] }],
  ['depthwise of stride 2', [2, 4, 6, 5], [4, 1, 3, 3], { group: 4, pads: [1, 1, 1, 1], strides: [2, 2] }],
  [
    'depthwise, dilated',
    [1, 3, 8, 7],
    [3, 1, 3, 3],
    { group: 3, dilations: [2, 2], strides: [2, 1], pads: [0, 2, 1, 1] },
  ],
  ['depthwise with a multiplier', [1, 3, 5, 5], [6, 1, 3, 3], { group: 3, pads: [1, 0, 1, 0], strides: [1, 2] }],
  ['SAME_UPPER', [1, 2, 6, 5], [3, 2, 3, 2], { auto_pad: 'SAME_UPPER', strides: [2, 2] }],
  ['SAME_LOWER', [1, 2, 6, 5], [3, 2, 4, 2], { auto_pad: 'SAME_LOWER' }],
  ['VALID', [1, 2, 6, 5], [3, 2, 3, 2], { auto_pad: 'VALID', strides: [2, 2] }],
  ['one axis', [2, 3, 9], [4, 3, 4], { pads: [2, 1], strides: [2], dilations: [2] }],
  ['one axis, dense', [2, 3, 7], [2, 3, 3], { pads: [1, 1] }],
  ['three axes', [1, 2, 4, 5, 3], [3, 2, 2, 3, 2], { pads: [1, 0, 1, 0, 2, 0], strides: [2, 1, 1] }],
  ['three axes, depthwise', [2, 2, 4, 3, 4], [2, 1, 3, 2, 2], { group: 2, pads: [1, 1, 0, 1, 0, 0] }],
  ['whole picture', [2, 3, 3, 2], [4, 3, 3, 2]],
]

const TRANSPOSED: readonly Case[] = [
  ['2x2 of stride 2', [2, 3, 3, 4], [3, 2, 2, 2], { strides: [2, 2] }],
  ['4x4 of stride 2, padded', [1, 3, 3, 4], [3, 2, 4, 4], { strides: [2, 2], pads: [1, 1, 1, 1] }],
  ['with output padding', [1, 2, 3, 3], [2, 3, 3, 3], { strides: [2, 3], pads: [1, 0, 1, 2], output_padding: [1, 2] }],
  ['of stride 1, padded', [2, 2, 4, 3], [2, 3, 3, 2], { pads: [1, 0, 2, 1] }],
  ['dilated', [1, 2, 4, 3], [2, 2, 3, 2], { dilations: [2, 3], strides: [1, 2], pads: [1, 1, 0, 2] }],
  ['grouped', [1, 4, 3, 3], [4, 3, 3, 3], { group: 2, strides: [2, 2], pads: [1, 1, 0, 0] }],
  ['depthwise', [2, 3, 3, 4], [3, 1, 3, 3], { group: 3, strides: [2, 2], pads: [1, 1, 1, 1] }],
  ['with an odd output shape', [1, 2, 3, 3], [2, 2, 3, 3], { strides: [2, 2], output_shape: [6, 5] }],
  ['SAME_UPPER', [1, 2, 3, 3], [2, 2, 3, 3], { strides: [2, 2], auto_pad: 'SAME_UPPER' }],
  ['SAME_LOWER', [1, 2, 3, 3], [2, 2, 3, 4], { strides: [2, 3], auto_pad: 'SAME_LOWER' }],
  ['one axis', [2, 3, 4], [3, 2, 4], { strides: [3], pads: [1, 0] }],
  ['three axes', [1, 2, 2, 3, 2], [2, 3, 2, 3, 2], { strides: [2, 1, 2], pads: [0, 1, 0, 1, 1, 0] }],
]

describe('gradients of convolutions', () => {
  for (const [name, x, weight, attributes] of CONVOLUTIONS)
    it(`Conv ${name}`, () =>
      expectGradient(
        'Conv',
        { inputs: [x, weight, [weight[0]!]], attributes: { ...attributes }, ...LINEAR },
        TOLERANCE,
      ))
  for (const [name, x, weight, attributes] of TRANSPOSED)
    it(`ConvTranspose ${name}`, () => {
      const bias = [weight[1]! * Number(attributes?.group ?? 1)]
      return expectGradient(
        'ConvTranspose',
        { inputs: [x, weight, bias], attributes: { ...attributes }, ...LINEAR },
        TOLERANCE,
      )
    })
  it('Conv without bias', () =>
    expectGradient(
      'Conv',
      {
        inputs: [
          [1, 2, 4, 4],
          [3, 2, 3, 3],
        ],
        ...LINEAR,
      },
      TOLERANCE,
    ))
})

/** Geometries by what a Conv with these attributes would have. */
function geometryOf(
  [batch, inChannels, ...input]: readonly [number, number, ...number[]],
  [outChannels, perGroup, ...kernel]: readonly [number, number, ...number[]],
  { pads, strides, dilations }: Partial<Record<'pads' | 'strides' | 'dilations', readonly number[]>> = {},
): ConvGeometry {
  const rank = input.length
  const step = strides ?? input.map(() => 1)
  const spacing = dilations ?? input.map(() => 1)
  const before = (pads ?? input.flatMap(() => [0, 0])).slice(0, rank)
  const end = (pads ?? input.flatMap(() => [0, 0])).slice(rank)
  const reach = kernel.map((extent, axis) => (extent - 1) * spacing[axis]! + 1)
  const output = input.map((extent, axis) =>
    Math.floor((extent + before[axis]! + end[axis]! - reach[axis]!) / step[axis]! + 1),
  )
  const after = input.map((extent, axis) => (output[axis]! - 1) * step[axis]! + reach[axis]! - extent - before[axis]!)
  const groups = inChannels / perGroup
  return {
    batch,
    inChannels,
    outChannels,
    groups,
    input,
    output,
    kernel,
    strides: step,
    dilations: spacing,
    before,
    after,
  }
}

/** What each formulation that applies gives, by name, for the same random operands. */
async function allFormulations(which: ConvolutionGradient, geometry: ConvGeometry): Promise<Map<string, Float64Array>> {
  const { batch, inChannels, outChannels, input, output, kernel, groups } = geometry
  const x = randomTensor([batch, inChannels, ...input], 1)
  const w = randomTensor([outChannels, inChannels / groups, ...kernel], 2)
  const dy = randomTensor([batch, outChannels, ...output], 3)
  const graph = createGraph('formulations')
  for (const [name, { shape }] of Object.entries({ x, w, dy }))
    graph.inputs.push({ name, type: tensorType('float32', shape) })
  const emit = new Emitter(graph, new Map(Object.entries({ x, w, dy })))
  const names = new Map<string, string>()
  for (const formulation of CONVOLUTION_FORMULATIONS[which]) {
    if (!formulation.applies(geometry)) continue
    const value =
      which === 'input' ? formulation.emit(emit, 'dy', 'w', geometry) : formulation.emit(emit, 'x', 'dy', geometry)
    expect([formulation.name, emit.shape(value)]).toEqual([formulation.name, which === 'input' ? x.shape : w.shape])
    names.set(formulation.name, emit.op('Identity', [value], emit.shape(value)))
  }
  for (const name of names.values()) graph.outputs.push({ name, type: undefined })
  const executable = await evaluator.load(createModel(graph, 18))
  const used = Object.fromEntries(Object.entries({ x, w, dy }).filter(([name]) => executable.inputNames.includes(name)))
  const found = await executable.run(used)
  await executable.release()
  return new Map([...names].map(([name, output]) => [name, toFloat64(found[output]!)]))
}

const GEOMETRIES: readonly (readonly [string, ConvGeometry])[] = [
  ['3x3', geometryOf([3, 4, 6, 5], [5, 4, 3, 3], { pads: [1, 1, 1, 1] })],
  ['3x3 without padding', geometryOf([3, 4, 6, 5], [5, 4, 3, 3])],
  ['3x3 of stride 2', geometryOf([3, 4, 6, 5], [5, 4, 3, 3], { pads: [1, 1, 1, 1], strides: [2, 2] })],
  ['dilated, uneven', geometryOf([2, 4, 8, 9], [5, 4, 3, 2], { pads: [0, 2, 3, 1], dilations: [2, 3] })],
  [
    'strided and dilated',
    geometryOf([2, 4, 9, 8], [5, 4, 3, 2], { pads: [0, 2, 3, 1], dilations: [2, 1], strides: [3, 2] }),
  ],
  ['1x1', geometryOf([2, 4, 3, 5], [6, 4, 1, 1])],
  ['1x1 of stride 2', geometryOf([2, 4, 4, 5], [6, 4, 1, 1], { strides: [2, 2] })],
  ['1x1, padded', geometryOf([2, 4, 4, 5], [6, 4, 1, 1], { pads: [1, 0, 0, 2] })],
  ['grouped', geometryOf([2, 4, 5, 5], [6, 2, 3, 3], { pads: [1, 1, 1, 1] })],
  ['depthwise', geometryOf([2, 4, 5, 6], [4, 1, 3, 3], { pads: [1, 1, 1, 1] })],
  ['depthwise of stride 2', geometryOf([2, 4, 5, 6], [4, 1, 3, 3], { pads: [1, 1, 1, 1], strides: [2, 2] })],
  ['depthwise with a multiplier', geometryOf([2, 4, 5, 6], [8, 1, 3, 3], { pads: [1, 1, 1, 1], strides: [2, 1] })],
  ['one axis', geometryOf([2, 4, 9], [3, 4, 3], { pads: [2, 1], strides: [2] })],
  ['three axes', geometryOf([2, 2, 4, 3, 5], [3, 2, 2, 3, 2], { pads: [0, 1, 1, 1, 1, 0] })],
]

describe('formulations of one gradient agree', () => {
  for (const gradient of ['input', 'weight'] as const) {
    const seen = new Set<string>()
    for (const [name, geometry] of GEOMETRIES)
      it(`by the ${gradient}: ${name}`, async () => {
        const results = await allFormulations(gradient, geometry)
        const general = [...results.values()].at(-1)!
        for (const [formulation, values] of results) {
          seen.add(formulation)
          expect([formulation, relativeErrorOf(general, values) < 1e-5]).toEqual([formulation, true])
        }
      })
    it(`by the ${gradient}: each was compared at least once`, () => {
      expect([...seen].sort()).toEqual(CONVOLUTION_FORMULATIONS[gradient].map(({ name }) => name).sort())
    })
  }

  it('one that is asked for by name is taken where it applies', async () => {
    const b = new GraphBuilder()
    const inputs = [b.input('x', 'float32', [1, 16, 4, 4]), b.input('w', 'float32', [16, 16, 3, 3])]
    b.output(b.op('Conv', inputs, {}, 'y'), 'float32')
    const model = b.model(18)
    model.graph.initializers.set('dy', randomTensor([1, 16, 2, 2], 1))
    const types = new Map([...(await observeShapes(evaluator, model)), ['dy', randomTensor([1, 16, 2, 2], 1)] as const])
    const asked: string[] = []
    const rules = convolutionRules((gradient) => {
      asked.push(gradient)
      return 'columns'
    })
    const options = { withRespectTo: ['x', 'w'], types, seeds: new Map([['y', 'dy']]) }
    const usual = gradient(model, options)
    const chosen = gradient(model, { ...options, rules })
    expect(asked).toEqual(['input', 'weight'])
    const products = ({ model: { graph } }: typeof usual): number =>
      graph.nodes.filter(({ opType }) => opType === 'MatMul').length
    // None in the convolution by dY, or one for all columns; and one that turns the weight for the gradient by the input.
    expect([products(usual), products(chosen)]).toEqual([1, 2])
  })
})
