import { describe, expect, it } from 'vitest'
import { evaluator, runModel } from '../../test/support/run-model.ts'
import { randomTensor, relativeErrorOf } from '../../test/support/tensors.ts'
import { observeShapes, withOutputs } from '../engine/index.ts'
import { assertModel, createGraph, GraphBuilder, type Model, tensorType } from '../graph/index.ts'
import { Tensor, toFloat32, toFloat64 } from '../tensor/index.ts'
import { type GradientOptions, gradient } from './gradient.ts'
import { GRADIENT_RULES, NON_DIFFERENTIABLE } from './rules/index.ts'
import { mergeRules } from './rules/rule.ts'

/** loss = Σ of what `body` makes of x [2, 3] and the parameters w [3, 4] and b [4]. */
function network(body: (b: GraphBuilder) => string, opset = 18): Model {
  const b = new GraphBuilder('net')
  b.input('x', 'float32', [2, 3])
  b.constant(randomTensor([3, 4], 1), 'w')
  b.constant(randomTensor([4], 2), 'bias')
  b.op('ReduceSum', [body(b)], { keepdims: 0 }, 'loss')
  b.output('loss', 'float32')
  return b.model(opset)
}

const differentiate = async (model: Model, options: Partial<GradientOptions> = {}) =>
  gradient(model, {
    loss: 'loss',
    withRespectTo: ['w'],
    types: await observeShapes(evaluator, model),
    ...options,
  })

const X = randomTensor([2, 3], 3)

/** Gradients by name, after one run. */
async function run(model: Model, options: Partial<GradientOptions> = {}): Promise<Map<string, Float64Array>> {
  const result = await differentiate(model, options)
  const outputs = await runModel(withOutputs(result.model, [...new Set(result.gradients.values())]), { x: X })
  return new Map([...result.gradients].map(([name, value]) => [name, toFloat64(outputs[value]!)]))
}

describe('gradient', () => {
  it('gives a valid model with the same outputs, of opset 18, and leaves its argument alone', async () => {
    const model = network((b) => b.op('MatMul', ['x', 'w']), 15)
    const nodes = structuredClone(model.graph.nodes)
    const result = await differentiate(model, { withRespectTo: ['w', 'x'] })
    assertModel(result.model)
    expect(result.model.opsets.get('')).toBe(18)
    expect(result.model.graph.outputs).toEqual(model.graph.outputs)
    expect(model.graph.nodes).toEqual(nodes)
    expect(result.emit.type(result.gradients.get('w')!)).toEqual({ dtype: 'float32', shape: [3, 4] })
    expect(result.emit.shape(result.gradients.get('x')!)).toEqual([2, 3])
  })

  it('lifts reductions and splits to opset 18', async () => {
    const model = network((b) => {
      b.ops('Split', [b.op('MatMul', ['x', 'w'])], { axis: 1 }, ['left', 'right'])
      return b.op('Mul', [b.op('ReduceMean', ['left'], { axes: [1], keepdims: 1 }), 'right'])
    }, 13)
    const found = (await run(model)).get('w')!
    const right = network((b) => {
      b.ops('Split', [b.op('MatMul', ['x', 'w'])], { axis: 1, num_outputs: 2 }, ['left', 'right'])
      return b.op('Mul', [b.op('ReduceMean', ['left', b.constant(Tensor.int64([1]))], { keepdims: 1 }), 'right'])
    })
    expect(relativeErrorOf((await run(right)).get('w')!, found)).toBeLessThan(1e-7)
    expect(found.some((value) => value !== 0)).toBe(true)
  })

  it('adds up over the uses of a value, two and more', async () => {
    const once = await run(network((b) => b.op('MatMul', ['x', 'w'])))
    const thrice = await run(
      network((b) => {
        const y = b.op('MatMul', ['x', 'w'])
        return b.op('Sub', [b.op('Add', [y, y]), b.op('Neg', [y])])
      }),
    )
    expect(
      relativeErrorOf(
        once.get('w')!.map((value) => 3 * value),
        thrice.get('w')!,
      ),
    ).toBeLessThan(1e-6)
  })

  it('sums over broadcast axes', async () => {
    const found = await run(
      network((b) => b.op('Add', [b.op('MatMul', ['x', 'w']), 'bias'])),
      { withRespectTo: ['bias'] },
    )
    expect([...found.get('bias')!]).toEqual([2, 2, 2, 2])
  })

  it('emits nothing for what does not lie between parameters and loss', async () => {
    const model = network((b) => b.op('Add', [b.op('Tanh', [b.op('MatMul', ['x', 'w'])]), 'bias']))
    const result = await differentiate(model, { withRespectTo: ['bias'] })
    const added = result.model.graph.nodes.slice(model.graph.nodes.length).map((node) => node.opType)
    expect(added).toEqual(['Expand', 'ReduceSum'])
  })

  it('differentiates by inner values', async () => {
    const model = network((b) => b.op('Mul', [b.op('MatMul', ['x', 'w'], {}, 'inner'), 'inner']))
    const result = await differentiate(model, { withRespectTo: ['inner', 'w'] })
    const name = result.gradients.get('inner')!
    const outputs = await runModel(withOutputs(result.model, [name, 'inner']), { x: X })
    const twice = toFloat64(outputs.inner!).map((value) => 2 * value)
    expect(relativeErrorOf(twice, toFloat64(outputs[name]!))).toBeLessThan(1e-6)
  })

  it('starts from seeds instead of a loss, or beside one', async () => {
    const model = network((b) => b.op('MatMul', ['x', 'w'], {}, 'y'))
    model.graph.initializers.set('seed', Tensor.of(new Float32Array(8).fill(2), [2, 4]))
    const loss = (await run(model)).get('w')!
    const seeds = new Map([['y', 'seed']])
    const seeded = (await run(model, { loss: undefined, seeds })).get('w')!
    expect(
      relativeErrorOf(
        loss.map((value) => 2 * value),
        seeded,
      ),
    ).toBeLessThan(1e-6)
    const both = (await run(model, { seeds })).get('w')!
    expect(
      relativeErrorOf(
        loss.map((value) => 3 * value),
        both,
      ),
    ).toBeLessThan(1e-6)
  })

  it('computes the same in float16 as in float32, but for rounding', async () => {
    const half = network((b) =>
      b.op('Cast', [b.op('Relu', [b.op('Cast', [b.op('MatMul', ['x', 'w'])], { to: 10 })])], { to: 1 }),
    )
    const single = network((b) => b.op('Relu', [b.op('MatMul', ['x', 'w'])]))
    const expected = (await run(single)).get('w')!
    expect(relativeErrorOf(expected, (await run(half)).get('w')!)).toBeLessThan(2e-3)
  })

  it('emits thousands of nodes in no time', async () => {
    const depth = 3000
    const b = new GraphBuilder()
    b.input('x', 'float32', [4])
    let y = 'x'
    for (let i = 0; i < depth; i++) y = b.op('Tanh', [y])
    b.op('ReduceSum', [y], { keepdims: 0 }, 'loss')
    b.output('loss', 'float32')
    const model = b.model(18)
    const types = new Map([['x', { dtype: 'float32' as const, shape: [4] }]])
    for (const node of model.graph.nodes) types.set(node.outputs[0]!, { dtype: 'float32', shape: [4] })
    types.set('loss', { dtype: 'float32', shape: [] as number[] })
    const start = performance.now()
    const result = gradient(model, { loss: 'loss', withRespectTo: ['x'], types })
    expect(result.model.graph.nodes.length).toBeGreaterThan(3 * depth)
    // 40 ms alone on the machine; a linear search for free names took 10 s.
    expect(performance.now() - start).toBeLessThan(2000)
  })
})

describe('what gradient refuses', () => {
  const y = (b: GraphBuilder): string => b.op('MatMul', ['x', 'w'], {}, 'y')

  it('an operator without rule, with the way from the loss to the parameter', async () => {
    const model = network((b) => {
      const squares = b.op('Reshape', [y(b), b.constant(Tensor.int64([2, 2, 2]), 'squares')])
      return b.op('Tanh', [b.op('Det', [squares])])
    })
    for (const node of model.graph.nodes) node.name = node.opType.toLowerCase()
    await expect(differentiate(model)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message:
        "Det 'det': operators on the way from the loss to a parameter need a gradient rule; there is none for Det. " +
        "The way is 'loss' ← ReduceSum 'reducesum' ← Tanh 'tanh' ← Det 'det' ← Reshape 'reshape' ← MatMul 'matmul' ← 'w'.",
      details: { operator: 'Det', node: 'det' },
    })
  })

  it('a subgraph that takes part', async () => {
    const model = network((b) => {
      y(b)
      const branch = (value: string) => {
        const graph = createGraph(value)
        graph.nodes.push({ ...new GraphBuilder().graph.nodes[0]!, ...identity('y', value) })
        graph.outputs.push({ name: value, type: tensorType('float32', [2, 4]) })
        return graph
      }
      const condition = b.constant(Tensor.of(Uint8Array.of(1), [], 'bool'))
      return b.op('If', [condition], { then_branch: branch('yes'), else_branch: branch('no') })
    })
    await expect(differentiate(model)).rejects.toThrow(
      /^If '.*': operators on the way .* none for If; subgraphs are not differentiated\. The way/,
    )
  })

  it('a parameter that leads nowhere, or only through an operator without gradient', async () => {
    await expect(differentiate(network(y), { withRespectTo: ['w', 'bias'] })).rejects.toThrow(
      "Parameter 'bias': must influence 'loss' to have a gradient; no way leads from it there.",
    )
    await expect(differentiate(network((b) => b.op('Floor', [y(b)])))).rejects.toThrow(
      /^Parameter 'w': must influence 'loss' .* the way leads through Floor 'node_Floor_\d', whose gradient by it is zero/,
    )
    await expect(
      differentiate(network((b) => b.op('Cast', [b.op('Cast', [y(b)], { to: 7 })], { to: 1 }))),
    ).rejects.toThrow(/the way leads through Cast 'node_Cast_\d', whose gradient by it is zero/)
  })

  it('losses and parameters that are none', async () => {
    const model = network(y)
    await expect(differentiate(model, { loss: 'y' })).rejects.toThrow(
      "Loss 'y': must be one floating-point number; it is float32 [2, 4]. Reduce it to its sum or mean first.",
    )
    await expect(differentiate(model, { loss: 'lost' })).rejects.toThrow(/^Loss 'lost': must be a value of the model/)
    await expect(differentiate(model, { loss: undefined })).rejects.toThrow(/give a loss or seeds/)
    await expect(differentiate(model, { withRespectTo: [] })).rejects.toThrow(/must name at least one value/)
    await expect(differentiate(model, { withRespectTo: ['q'] })).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(differentiate(model, { seeds: new Map([['y', 'w']]) })).rejects.toThrow(
      "Seed 'w': must have the shape of 'y', [2, 4]; it has [3, 4].",
    )
    const counted = network((b) => b.op('Gather', [y(b), b.constant(Tensor.int64([0]), 'index')]))
    await expect(differentiate(counted, { withRespectTo: ['index'] })).rejects.toThrow(
      "Parameter 'index': must be of a floating-point type; it is int64.",
    )
  })

  it('values whose type was not observed', async () => {
    const model = network((b) => b.op('Tanh', [y(b)], {}, 'z'))
    const types = new Map(await observeShapes(evaluator, model))
    types.delete('z')
    expect(() => gradient(model, { loss: 'loss', withRespectTo: ['w'], types })).toThrow(/Value 'z': its element type/)
  })

  it('models before opset 7', () =>
    expect(differentiate(network(y, 6), { types: new Map() })).rejects.toThrow(
      "Model 'net': opset 18 or later is needed; it has opset 6 and cannot be lifted",
    ))
})

function identity(input: string, output: string) {
  const b = new GraphBuilder()
  b.op('Identity', [input], {}, output)
  return b.graph.nodes[0]!
}

describe('the table of rules', () => {
  it('has no operator that also counts as without gradient', () => {
    expect(Object.keys(GRADIENT_RULES).filter((operator) => NON_DIFFERENTIABLE.has(operator))).toEqual([])
  })

  it('refuses a second rule for an operator', () => {
    expect(() => mergeRules(GRADIENT_RULES, { Relu: () => [] })).toThrow("Gradient rules: 'Relu' has two.")
  })

  it('is deterministic', async () => {
    const model = network((b) => b.op('Relu', [b.op('MatMul', ['x', 'w'])]))
    const [a, b] = [await run(model), await run(model)]
    expect(toFloat32(Tensor.of(a.get('w')!, [12]))).toEqual(toFloat32(Tensor.of(b.get('w')!, [12])))
  })
})
