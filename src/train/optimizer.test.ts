import { describe, expect, it } from 'vitest'
import { runModel } from '../../test/support/run-model.ts'
import { randomTensor64, relativeErrorOf } from '../../test/support/tensors.ts'
import { Emitter } from '../autodiff/index.ts'
import { createGraph, createModel, tensorType } from '../graph/index.ts'
import { fromNumbers, Tensor, toFloat64 } from '../tensor/index.ts'
import {
  checkOptimizer,
  clipGradients,
  defaultWeightDecay,
  emitUpdate,
  type Optimizer,
  SCALARS,
  type ScalarName,
  scalarsAt,
  stateNames,
} from './optimizer.ts'

const SHAPE = [3, 4]
const DTYPE = 'float64'

/** Steps of an optimizer in the graph, from random weights and with random gradients; the weights after each. */
async function train(optimizer: Optimizer, steps: number, lr: number): Promise<Float64Array[]> {
  const settings = { weightDecay: defaultWeightDecay(optimizer), lrScale: 1 }
  const parts = stateNames(optimizer)
  const names = ['w', 'g', ...parts, ...SCALARS]
  const shapeOf = (name: string): number[] => ((SCALARS as readonly string[]).includes(name) ? [] : SHAPE)
  const graph = createGraph('update')
  graph.inputs = names.map((name) => ({ name, type: tensorType(DTYPE, shapeOf(name)) }))
  const emit = new Emitter(graph, new Map(names.map((name) => [name, { dtype: DTYPE, shape: shapeOf(name) }])))
  const scalars = Object.fromEntries(SCALARS.map((name) => [name, name])) as Record<ScalarName, string>
  const updated = emitUpdate(emit, optimizer, { parameter: 'w', gradient: 'g', state: parts, settings, scalars })
  const outputs = [updated.parameter, ...updated.state]
  graph.outputs = outputs.map((name) => ({ name, type: undefined }))
  const zeros = new Tensor64(SHAPE)
  let state = parts.map(() => zeros.tensor)
  let w = randomTensor64(SHAPE, 1)
  const history: Float64Array[] = []
  for (let step = 0; step < steps; step++) {
    const given = scalarsAt(optimizer, settings, step, lr)
    const feeds = {
      w,
      g: randomTensor64(SHAPE, 10 + step),
      ...Object.fromEntries(parts.map((part, at) => [part, state[at]!])),
      ...Object.fromEntries(SCALARS.map((name) => [name, fromNumbers(Float64Array.of(given[name]), [], DTYPE)])),
    }
    const results = await runModel(createModel(graph, 18), feeds)
    w = results[updated.parameter]!
    state = updated.state.map((name) => results[name]!)
    history.push(toFloat64(w))
  }
  return history
}

class Tensor64 {
  readonly tensor: Tensor
  constructor(shape: readonly number[]) {
    this.tensor = Tensor.of(new Float64Array(shape.reduce((a, b) => a * b, 1)), shape)
  }
}

/** PyTorch's documentation of each optimizer, element by element. */
type Rule = (w: number, g: number, step: number, memory: number[]) => number

async function compare(optimizer: Optimizer, lr: number, rule: Rule): Promise<number> {
  const steps = 4
  const actual = await train(optimizer, steps, lr)
  const weights = [...toFloat64(randomTensor64(SHAPE, 1))]
  const memories = weights.map((): number[] => [])
  const errors: number[] = []
  for (let step = 0; step < steps; step++) {
    const gradients = toFloat64(randomTensor64(SHAPE, 10 + step))
    for (const [i, w] of weights.entries()) weights[i] = rule(w, gradients[i]!, step, memories[i]!)
    errors.push(relativeErrorOf(weights, actual[step]!))
  }
  return Math.max(...errors)
}

describe('optimizers follow PyTorch', () => {
  const cases: readonly (readonly [string, Optimizer, Rule])[] = [
    ['SGD', { kind: 'sgd', momentum: 0, weightDecay: 0.1 }, (w, g) => w - 0.05 * (g + 0.1 * w)],
    [
      'SGD with momentum',
      { kind: 'sgd', momentum: 0.8, weightDecay: 0.1 },
      (w, g, step, memory) => {
        const d = g + 0.1 * w
        memory[0] = step === 0 ? d : 0.8 * memory[0]! + d
        return w - 0.05 * memory[0]
      },
    ],
    [
      'SGD with dampening',
      { kind: 'sgd', momentum: 0.8, dampening: 0.3 },
      (w, g, step, memory) => {
        memory[0] = step === 0 ? g : 0.8 * memory[0]! + 0.7 * g
        return w - 0.05 * memory[0]
      },
    ],
    [
      'SGD with Nesterov momentum',
      { kind: 'sgd', momentum: 0.8, nesterov: true, weightDecay: 0.1 },
      (w, g, step, memory) => {
        const d = g + 0.1 * w
        memory[0] = step === 0 ? d : 0.8 * memory[0]! + d
        return w - 0.05 * (d + 0.8 * memory[0])
      },
    ],
    [
      'Adam',
      { kind: 'adam', betas: [0.8, 0.95], epsilon: 1e-3, weightDecay: 0.1 },
      (w, g, step, memory) => adam(w, g + 0.1 * w, step, memory),
    ],
    [
      'AdamW',
      { kind: 'adamw', betas: [0.8, 0.95], epsilon: 1e-3, weightDecay: 0.1 },
      (w, g, step, memory) => adam(w * (1 - 0.05 * 0.1), g, step, memory),
    ],
    [
      'RMSProp',
      { kind: 'rmsprop', alpha: 0.9, epsilon: 1e-3, weightDecay: 0.1 },
      (w, g, _, memory) => {
        const d = g + 0.1 * w
        memory[0] = 0.9 * (memory[0] ?? 0) + 0.1 * d * d
        return w - (0.05 * d) / (Math.sqrt(memory[0]) + 1e-3)
      },
    ],
    [
      'RMSProp with momentum',
      { kind: 'rmsprop', alpha: 0.9, epsilon: 1e-3, momentum: 0.8 },
      (w, g, _, memory) => {
        memory[0] = 0.9 * (memory[0] ?? 0) + 0.1 * g * g
        memory[1] = 0.8 * (memory[1] ?? 0) + g / (Math.sqrt(memory[0]) + 1e-3)
        return w - 0.05 * memory[1]
      },
    ],
  ]

  function adam(w: number, g: number, step: number, memory: number[]): number {
    memory[0] = 0.8 * (memory[0] ?? 0) + 0.2 * g
    memory[1] = 0.95 * (memory[1] ?? 0) + 0.05 * g * g
    const mean = memory[0] / (1 - 0.8 ** (step + 1))
    const square = memory[1] / (1 - 0.95 ** (step + 1))
    return w - (0.05 * mean) / (Math.sqrt(square) + 1e-3)
  }

  it.each(cases)('%s', async (_, optimizer, rule) => {
    expect(await compare(optimizer, 0.05, rule)).toBeLessThan(1e-13)
  })

  it('scales the learning rate of a group', () => {
    const { rate, decay } = scalarsAt({ kind: 'adamw' }, { weightDecay: 0.5, lrScale: 0.1 }, 9, 0.2)
    expect(rate).toBeCloseTo(0.02 / (1 - 0.9 ** 10), 15)
    expect(decay).toBe(1 - 0.02 * 0.5)
  })

  it('refuses settings out of range', () => {
    expect(() => checkOptimizer({ kind: 'lion' } as never)).toThrow(
      "Optimizer: must be one of sgd, adam, adamw, rmsprop; got 'lion'.",
    )
    expect(() => checkOptimizer({ kind: 'sgd', momentum: 1 })).toThrow(
      "Optimizer 'sgd': momentum must be at least 0 and below 1; got 1.",
    )
    expect(() => checkOptimizer({ kind: 'adam', lr: -1 })).toThrow(
      "Optimizer 'adam': lr must be a number of at least 0; got -1.",
    )
    expect(() => checkOptimizer({ kind: 'sgd', momentum: 0, nesterov: true })).toThrow(
      "Optimizer 'sgd': nesterov needs a momentum above 0 and no dampening.",
    )
  })
})

describe('clipGradients', () => {
  async function clip(scale: number, clipping: { norm?: number; value?: number }): Promise<[number[], number[]]> {
    const tensors = [randomTensor64([3, 2], 1), randomTensor64([4], 2)].map((tensor) =>
      Tensor.of(
        toFloat64(tensor).map((value) => value * scale),
        tensor.shape,
      ),
    )
    const graph = createGraph('clip')
    graph.inputs = tensors.map((tensor, at) => ({ name: `g${at}`, type: tensorType(DTYPE, tensor.shape) }))
    const emit = new Emitter(
      graph,
      new Map(tensors.map((tensor, at) => [`g${at}`, { dtype: DTYPE, shape: tensor.shape }])),
    )
    const { gradients: names } = clipGradients(emit, ['g0', 'g1'], clipping)
    graph.outputs = names.map((name) => ({ name, type: undefined }))
    const results = await runModel(createModel(graph, 18), { g0: tensors[0]!, g1: tensors[1]! })
    return [
      tensors.flatMap((tensor) => [...toFloat64(tensor)]),
      names.flatMap((name) => [...toFloat64(results[name]!)]),
    ]
  }

  it('scales all gradients down to a norm, as clip_grad_norm_', async () => {
    const [before, after] = await clip(10, { norm: 2 })
    const norm = Math.hypot(...before)
    expect(
      relativeErrorOf(
        before.map((value) => (value * 2) / (norm + 1e-6)),
        after,
      ),
    ).toBeLessThan(1e-14)
  })

  it('leaves small gradients as they are', async () => {
    const [before, after] = await clip(0.01, { norm: 2 })
    expect(relativeErrorOf(before, after)).toBe(0)
  })

  it('bounds single values first', async () => {
    const [before, after] = await clip(10, { value: 0.5 })
    expect(
      relativeErrorOf(
        before.map((value) => Math.max(-0.5, Math.min(0.5, value))),
        after,
      ),
    ).toBe(0)
  })
})
