import { describe, expect, it } from 'vitest'
import { evaluator } from '../../test/support/run-model.ts'
import { randomTensor } from '../../test/support/tensors.ts'
import { type Evaluator, GraphBuilder, type Model } from '../graph/index.ts'
import { compareSpeed, quantizeGuarded } from './speed-guard.ts'
import { optionsForTarget } from './target.ts'

/** x → Conv → Relu → depthwise Conv → Add(x) → Conv → y */
function network(): Model {
  const b = new GraphBuilder()
  const x = b.input('x', 'float32', ['batch', 16, 8, 8])
  const conv = (input: string, seed: number): string =>
    b.op('Conv', [input, b.constant(randomTensor([16, 16, 3, 3], seed))], { pads: [1, 1, 1, 1] })
  const inner = b.op('Relu', [conv(conv(x, 0), 1)])
  const weight = b.constant(randomTensor([16, 1, 3, 3], 2))
  const sum = b.op('Add', [b.op('Conv', [inner, weight], { pads: [1, 1, 1, 1], group: 16 }), x])
  b.output(conv(sum, 3), 'float32', ['batch', 16, 8, 8])
  return b.model()
}

async function* data() {
  for (let i = 0; i < 2; i++) yield { x: randomTensor([2, 16, 8, 8], i) }
}

/** onnxruntime-node, with runs that take as long as a rule says, in milliseconds. */
function timed(rule: (ops: readonly string[]) => number): Evaluator {
  return {
    load: async (model, options) => {
      const executable = await evaluator.load(model, options)
      const milliseconds = rule(quantizedOps(model))
      return {
        ...executable,
        inputNames: executable.inputNames,
        run: async (feeds, outputs) => {
          const results = await executable.run(feeds, outputs)
          const end = performance.now() + milliseconds
          while (performance.now() < end);
          return results
        },
        release: () => executable.release(),
      }
    },
  }
}

/** What is quantized: `Conv` and `depthwise` by weights of integers. */
function quantizedOps({ graph }: Model): string[] {
  const integers = [...graph.initializers.values()].filter(({ dtype, shape }) => dtype === 'int8' && shape.length === 4)
  return integers.map(({ shape }) => (shape[1] === 1 ? 'depthwise' : 'Conv'))
}

const speed = { budget: 100, batch: 2 }

describe('quantizeGuarded', () => {
  it('keeps a network that is clearly faster without trying anything', async () => {
    const own = timed((ops) => (ops.length > 0 ? 2 : 12))
    const { speed: found, plan } = await quantizeGuarded(network(), { data, speed }, { evaluator: own })
    expect(found.comparison.speedup).toBeGreaterThan(1.5)
    expect(found).toMatchObject({ trials: [], rolledBack: [], kept: null })
    expect(plan.steps.length).toBeGreaterThan(3)
  })

  it('takes back what is slower in integers, with the reason, and keeps the rest', async () => {
    const own = timed((ops) => (ops.length === 0 ? 14 : ops.includes('depthwise') ? 16 : 4))
    const { speed: found, model, plan, record } = await quantizeGuarded(network(), { data, speed }, { evaluator: own })
    const depthwise = found.rolledBack.filter(({ reason }) => reason.startsWith('depthwise'))
    expect(depthwise).toHaveLength(1)
    expect(depthwise[0]!.reason).toMatch(
      /^depthwise Conv is slower in integers here: with it in float a run takes [\d.]+ ms instead of/,
    )
    expect(quantizedOps(model)).not.toContain('depthwise')
    expect(quantizedOps(model)).toContain('Conv')
    expect(plan.skips).toContainEqual(depthwise[0])
    expect(record.measured[0]).toMatchObject({ metric: 'milliseconds' })
    expect(found.comparison.speedup).toBeGreaterThan(1)
  })

  it('gives the original back when nothing helps', async () => {
    const own = timed((ops) => (ops.length > 0 ? 12 : 5))
    const original = network()
    const { speed: found, model, plan, record } = await quantizeGuarded(original, { data, speed }, { evaluator: own })
    expect(model).toBe(original)
    expect(found.kept).toMatch(/^Nothing was quantized: a run takes [\d.]+ ms in integers and [\d.]+ ms in float/)
    expect(plan.steps).toEqual([])
    expect(record.after).toEqual(record.before)
    expect(record.skips.map(({ reason }) => reason)).toContain('The network is not faster in integers here.')
  })
})

describe('compareSpeed', () => {
  it('measures how many times faster the second network is', async () => {
    const own = timed((ops) => (ops.length > 0 ? 4 : 12))
    const { model } = await quantizeGuarded(network(), { data, speed }, { evaluator: own })
    const { speedup } = await compareSpeed(network(), model, { evaluator: own }, speed)
    expect(speedup).toBeGreaterThan(1.5)
    expect(speedup).toBeLessThan(4)
  })
})

describe('optionsForTarget', () => {
  it('fills in what a target decides', async () => {
    const { options, measured } = await optionsForTarget({ target: 'tensorrt' }, { evaluator })
    expect(options).toMatchObject({ activations: 'int8', activationsSymmetric: true, floatBiases: true })
    expect(measured).toBeUndefined()
    const { model } = await quantizeGuarded(
      network(),
      { ...options, data, speed },
      { evaluator: timed((ops) => (ops.length > 0 ? 1 : 9)) },
    )
    const types = [...model.graph.initializers]
      .filter(([name]) => name.endsWith('_zero_point'))
      .map(([, { dtype }]) => dtype)
    expect(new Set(types)).toEqual(new Set(['int8']))
    expect([...model.graph.initializers.values()].some(({ dtype }) => dtype === 'int32')).toBe(false)
  })

  it('measures the runtime at hand where it is the target', async () => {
    const { measured, options } = await optionsForTarget(
      {},
      { evaluator },
      { own: 'node-cpu', budget: 50, allowSlow: true },
    )
    expect(measured).toBeDefined()
    expect(options.target).toBe('node-cpu')
  })
})
