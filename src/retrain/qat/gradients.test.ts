import { describe, expect, it } from 'vitest'
import { runModel } from '../../../test/support/run-model.ts'
import { relativeErrorOf } from '../../../test/support/tensors.ts'
import { gradient, type Typed } from '../../autodiff/index.ts'
import type { ActivationStep, IntegerType } from '../../compress/index.ts'
import { createRandom } from '../../core/index.ts'
import { createGraph, createModel, sortNodes } from '../../graph/index.ts'
import { Tensor, toFloat32 } from '../../tensor/index.ts'
import { createActivationQuantizer, emitActivationQuantizer, type Groups } from './activations.ts'
import type { QatAlgorithm, QatWeightAlgorithm } from './options.ts'
import { asGradientRules } from './rules.ts'
import { addWeightQuantizer } from './weights.ts'
import { FakeQuantWriter } from './writer.ts'

/** Runs a value of a graph and the gradients of Σ upstream · y by some of its values. */
async function differentiated(
  writer: FakeQuantWriter,
  y: string,
  upstream: Float32Array,
  withRespectTo: readonly string[],
  shape: readonly number[],
): Promise<{ y: Float32Array; gradients: Float32Array[] }> {
  const { graph } = writer
  graph.initializers.set('upstream', Tensor.of(upstream, shape))
  graph.outputs = [{ name: y, type: undefined }]
  sortNodes(graph)
  const types = new Map<string, Typed>()
  const model = createModel(graph, 18)
  // Shapes of these graphs are the data's, one number, or one per channel; scales come first.
  const inner = {
    ...model,
    graph: { ...graph, outputs: graph.nodes.map((node) => ({ name: node.outputs[0]!, type: undefined })) },
  }
  for (const [name, { dtype, shape: own }] of Object.entries(await runModel(inner, {})))
    types.set(name, { dtype, shape: own })
  const result = gradient(model, {
    seeds: new Map([[y, 'upstream']]),
    withRespectTo,
    types,
    rules: asGradientRules(writer.rules),
  })
  const names = withRespectTo.map((name) => result.gradients.get(name)!)
  result.model.graph.outputs = [y, ...names].map((name) => ({ name, type: undefined }))
  const values = await runModel(result.model, {})
  // −0 is 0 here.
  return {
    y: toFloat32(values[y]!),
    gradients: names.map((name) => toFloat32(values[name]!).map((value) => value + 0)),
  }
}

function activation(type: IntegerType, bits: number, scale: number, zeroPoint: number): ActivationStep {
  const quantization = { type, bits, scale: [Math.fround(scale)], zeroPoint: [zeroPoint], axis: null }
  return { tensor: 'x', quantization, range: { min: 0, max: 0 }, algorithm: 'test' }
}

async function activationGradients(
  x: Float32Array,
  g: Float32Array,
  step: ActivationStep,
  algorithm: QatAlgorithm,
  { isPositive = false, fixedMin }: { isPositive?: boolean; fixedMin?: boolean } = {},
) {
  const graph = createGraph('fake')
  graph.initializers.set('x', Tensor.of(x, [x.length]))
  const writer = new FakeQuantWriter(graph)
  const groups: Groups = []
  const choice = { algorithm, isPositive, fixedMin }
  const quantizer = createActivationQuantizer(writer, step, choice, { groups, elements: 100, rate: 1 })
  const y = emitActivationQuantizer(writer, quantizer, { x: 'x', isPositive, prefix: 'q' })
  const names = Object.values(quantizer.parameters)
  const learned = names.map((name) => toFloat32(graph.initializers.get(name)!)[0]!)
  const result = await differentiated(writer, y, g, ['x', ...names], [x.length])
  const [dx, ...rest] = result.gradients
  const byRole = Object.fromEntries(Object.keys(quantizer.parameters).map((role, at) => [role, rest[at]![0]!]))
  return { y: result.y, dx: dx!, gradients: byRole, learned, groups, quantizer }
}

const round = (x: number): number => {
  const nearest = Math.round(x)
  return nearest - x === 0.5 && nearest % 2 !== 0 ? nearest - 1 : nearest
}

const random = createRandom(5)
const x = Float32Array.from({ length: 500 }, () => random.normal())
const g = Float32Array.from({ length: 500 }, () => random.normal())

/** AMCT's ulq_retrain to the letter: amct.md 3.2. */
function ulq(clipMin: number, clipMax: number, bits: number) {
  const scale = Math.fround((clipMax - clipMin) / (2 ** bits - 1))
  const offset = round(-(2 ** (bits - 1)) - clipMin / scale)
  const [low, high] = [scale * (-(2 ** (bits - 1)) - offset), scale * (2 ** (bits - 1) - 1 - offset)]
  let [byMax, byMin] = [0, 0]
  const rows = Array.from(x, (value, at) => {
    const upper = value > high ? 1 : 0
    const lower = value < low ? 1 : 0
    const v = Math.min(Math.max(value, low), high) / scale
    const e = (round(v) - v) / (2 ** bits - 1)
    byMax += (e + upper) * g[at]!
    byMin += (lower - e) * g[at]!
    return { y: round(v) * scale, dx: upper || lower ? 0 : g[at]! }
  })
  return { y: rows.map((row) => row.y), dx: rows.map((row) => row.dx), byMax, byMin }
}

describe('ULQ', () => {
  for (const bits of [8, 4])
    it(`gives AMCT's values and gradients at ${bits} bits, with both ends learned`, async () => {
      const levels = 2 ** bits - 1
      // A zero point that is not exact: the ends and the grid differ by a part of a step.
      const step = activation('uint8', bits, 3.1 / levels, Math.round(0.4 * levels))
      const found = await activationGradients(x, g, step, 'ulq', { fixedMin: false })
      const [clipMax, clipMin] = found.learned as [number, number]
      const wanted = ulq(clipMin, clipMax, bits)
      expect(relativeErrorOf(wanted.y, found.y)).toBeLessThan(1e-6)
      expect([...found.dx]).toEqual(wanted.dx)
      expect(Math.abs(found.gradients.clipMax! - wanted.byMax)).toBeLessThan(1e-4)
      expect(Math.abs(found.gradients.clipMin! - wanted.byMin)).toBeLessThan(1e-4)
    })

  it('hands gradients on exactly where the ends lie between two integers', async () => {
    // Range −0.33 … 1.17 in 15 steps of 0.1: the zero point is 3.3, rounded 3.
    const graph = createGraph('fake')
    const values = Float32Array.of(-5, -0.31, 0.02, 1.19, 1.21, 7)
    const upstream = Float32Array.of(1, 2, 4, 8, 16, 32)
    graph.initializers.set('x', Tensor.of(values, [6]))
    const writer = new FakeQuantWriter(graph)
    const choice = { algorithm: 'ulq', isPositive: false, fixedMin: false } as const
    const quantizer = createActivationQuantizer(writer, activation('uint8', 4, 0.1, 3), choice, {
      groups: [],
      elements: 6,
      rate: 1,
    })
    const { clipMax, clipMin } = quantizer.parameters
    graph.initializers.set(clipMax!, Tensor.of(Float32Array.of(1.17), []))
    graph.initializers.set(clipMin!, Tensor.of(Float32Array.of(-0.33), []))
    const y = emitActivationQuantizer(writer, quantizer, { x: 'x', isPositive: false, prefix: 'q' })
    const { y: result, gradients } = await differentiated(writer, y, upstream, ['x', clipMax!, clipMin!], [6])
    // The grid is −0.3 … 1.2.
    expect(relativeErrorOf([-0.3, -0.3, 0, 1.2, 1.2, 1.2], result)).toBeLessThan(1e-6)
    expect([...gradients[0]!]).toEqual([0, 0, 4, 8, 0, 0])
    // e: 0.02 is 0.2 of a step below, 1.19 rounds up by 0.1; outside there is none.
    const e = (4 * -0.2 + 8 * 0.1) / 15
    expect(gradients[1]![0]!).toBeCloseTo(e + 16 + 32, 4)
    expect(gradients[2]![0]!).toBeCloseTo(1 + 2 - e, 4)
  })

  it('keeps the lower end at 0 behind a ReLU', async () => {
    const positive = x.map((value) => Math.max(0, value))
    const found = await activationGradients(positive, g, activation('uint8', 4, 0.1, 0), 'ulq', { isPositive: true })
    expect(Object.keys(found.gradients)).toEqual(['clipMax'])
    let byMax = 0
    for (const [at, value] of positive.entries()) {
      const v = Math.min(value, 15 * Math.fround(0.1)) / Math.fround(0.1)
      byMax += ((round(v) - v) / 15 + (value > 1.5 ? 1 : 0)) * g[at]!
    }
    expect(Math.abs(found.gradients.clipMax! - byMax)).toBeLessThan(1e-4)
    expect([...found.dx]).toEqual([...positive].map((value, at) => (value > 1.5 ? 0 : g[at]!)))
  })

  it('lets values on the bounds themselves through', async () => {
    const values = Float32Array.of(0, 0.5, 7.5, 7.500001)
    const found = await activationGradients(values, Float32Array.of(1, 1, 1, 1), activation('uint8', 4, 0.5, 0), 'ulq')
    expect([...found.dx]).toEqual([1, 1, 1, 0])
  })
})

describe('LSQ', () => {
  for (const [type, bits, zero] of [
    ['uint8', 8, 0],
    ['uint8', 4, 6],
    ['int8', 8, 0],
  ] as const)
    it(`has the gradient of the paper for ${type} in ${bits} bits around ${zero}`, async () => {
      const scale = Math.fround(2.5 / 2 ** bits)
      const found = await activationGradients(x, g, activation(type, bits, scale, zero), 'lsq')
      const [least, most] = type === 'int8' ? [-128, 127] : [0, 2 ** bits - 1]
      const [low, high] = [least - zero, most - zero]
      let byScale = 0
      for (const [at, value] of x.entries()) {
        const v = Math.fround(value / scale)
        // Equation 3: −v/s + round(v/s) inside, −Qn and Qp outside.
        const slope = v <= low ? low : v >= high ? high : round(v) - v
        byScale += slope * g[at]!
        const inside = v >= low && v <= high
        expect(found.dx[at]).toBe(inside ? g[at] : 0)
        expect(found.y[at]! + 0).toBe(Math.fround(round(Math.min(Math.max(v, low), high)) * scale) + 0)
      }
      expect(Math.abs(found.gradients.scale! - byScale) / Math.abs(byScale)).toBeLessThan(1e-4)
      expect(found.groups[0]).toMatchObject({ weightDecay: 0, gradientScale: 1 / Math.sqrt(100 * high) })
    })
})

describe('LSQ+', () => {
  it('learns the offset from what is outside, the step as LSQ', async () => {
    const scale = Math.fround(0.15)
    const found = await activationGradients(x, g, activation('uint8', 4, scale, 6), 'lsq+')
    let [byScale, byOffset] = [0, 0]
    for (const [at, value] of x.entries()) {
      const v = Math.fround(value / scale)
      // Bhalgat et al., equations 4 to 6, n = 0 and p = 15 around the offset.
      byScale += (v < -6 ? 0 : v > 9 ? 15 : round(v) - v) * g[at]!
      byOffset += (v < -6 || v > 9 ? 1 : 0) * g[at]!
    }
    expect(Math.abs(found.gradients.scale! - byScale)).toBeLessThan(1e-3)
    expect(Math.abs(found.gradients.offset! - byOffset)).toBeLessThan(1e-4)
  })
})

describe('weights', () => {
  const shape = [4, 5, 5, 5]
  const w = x.map((value, at) => value * (1 + Math.floor(at / 125)))

  async function weightGradients(algorithm: QatWeightAlgorithm, scales: number[] | undefined, axis: number | null) {
    const graph = createGraph('fake')
    graph.initializers.set('w', Tensor.of(w, shape))
    const writer = new FakeQuantWriter(graph)
    const count = axis === null ? 1 : 4
    const quantization = {
      type: 'int8',
      bits: 4,
      axis,
      scale: Array(count).fill(1),
      zeroPoint: Array(count).fill(0),
    } as const
    const groups: Groups = []
    const settings = { groups, rate: 1, initial: 'mse' } as const
    const { quantizer, value } = addWeightQuantizer(
      writer,
      { node: 'conv', weight: 'w', quantization },
      algorithm,
      settings,
    )
    if (scales) graph.initializers.set(quantizer.scale!, Tensor.of(Float32Array.from(scales), [4, 1, 1, 1]))
    const names = quantizer.scale === undefined ? ['w'] : ['w', quantizer.scale]
    return { ...(await differentiated(writer, value, g, names, shape)), groups }
  }

  it('ARQ takes its scale from the greatest magnitude and passes gradients unchanged', async () => {
    for (const axis of [0, null]) {
      const { y, gradients } = await weightGradients('arq', undefined, axis)
      const per = axis === null ? 500 : 125
      const wanted = Array.from(w, (value, at) => {
        const start = Math.floor(at / per) * per
        const scale = Math.fround(Math.max(...w.subarray(start, start + per).map(Math.abs)) / 7)
        return Math.fround(round(Math.fround(value / scale)) * scale)
      })
      expect(relativeErrorOf(wanted, y)).toBe(0)
      expect([...gradients[0]!]).toEqual([...g])
    }
  })

  const scales = [0.2, 0.5, 0.6, 0.7].map(Math.fround)
  /** Σ over each channel; −7 … 7 are the integers in use. */
  const byScale = scales.map((scale, channel) => {
    let sum = 0
    for (let at = channel * 125; at < channel * 125 + 125; at++) {
      const v = Math.fround(w[at]! / scale)
      sum += (v < -7 ? -7 : v > 7 ? 7 : round(v) - v) * g[at]!
    }
    return sum
  })

  it('LSQ passes gradients where nothing is clipped, and learns a scale per channel', async () => {
    const { gradients, groups } = await weightGradients('lsq', scales, 0)
    const inside = Array.from(w, (value, at) => Math.abs(Math.fround(value / scales[Math.floor(at / 125)]!)) <= 7)
    expect(inside.filter((is) => !is).length).toBeGreaterThan(20)
    expect([...gradients[0]!]).toEqual(inside.map((is, at) => (is ? g[at]! : 0)))
    expect(relativeErrorOf(byScale, gradients[1]!)).toBeLessThan(1e-5)
    expect(groups[0]!.gradientScale).toBe(1 / Math.sqrt(125 * 7))
  })

  it('ULQ passes gradients everywhere, and learns the same scale', async () => {
    const { gradients } = await weightGradients('ulq', scales, 0)
    expect([...gradients[0]!]).toEqual([...g])
    expect(relativeErrorOf(byScale, gradients[1]!)).toBeLessThan(1e-5)
  })
})
