import * as ort from 'onnxruntime-node'
import * as web from 'onnxruntime-web'
import { afterEach, describe, expect, it } from 'vitest'
import { randomTensor, relativeError } from '../../test/support/tensors.ts'
import { WhittleError } from '../core/index.ts'
import { createGraph, createNode, GraphBuilder, type Model } from '../graph/index.ts'
import { type DType, fromNumbers, Tensor, toFloat32 } from '../tensor/index.ts'
import { createEvaluator } from './evaluator.ts'
import type { OrtRuntime } from './ort.ts'

const evaluator = createEvaluator(ort, { threads: 1 })

/** y = op(x…) */
function unary(opType: string, dtype: DType, shape: (number | string)[] | 'any' = ['n']): Model {
  const b = new GraphBuilder()
  b.op(opType, [b.input('x', dtype, shape === 'any' ? undefined : shape)], {}, 'y')
  b.output('y', dtype)
  return b.model()
}

async function errorOf(work: Promise<unknown>): Promise<WhittleError> {
  try {
    await work
  } catch (error) {
    if (error instanceof WhittleError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

describe('tensors pass through the runtime', () => {
  const numbers: Tensor[] = [
    Tensor.of(Float32Array.of(1.5, -2, 0), [3]),
    Tensor.of(Float64Array.of(1.5, -2, 1e300), [3]),
    Tensor.of(Int8Array.of(1, -128), [2]),
    Tensor.of(Uint8Array.of(1, 255), [2]),
    Tensor.of(Int16Array.of(1, -32768), [2]),
    Tensor.of(Uint16Array.of(1, 65535), [2]),
    Tensor.of(Int32Array.of(1, -(2 ** 31)), [2]),
    Tensor.of(Uint32Array.of(1, 2 ** 32 - 1), [2]),
    Tensor.of(BigInt64Array.of(1n, -(2n ** 63n)), [2]),
    Tensor.of(BigUint64Array.of(1n, 2n ** 64n - 1n), [2]),
    Tensor.of(Uint8Array.of(1, 0, 1), [3], 'bool'),
    fromNumbers(Float32Array.of(0.5, -3, 65504), [3], 'float16'),
  ]
  it.each(numbers.map((tensor) => [tensor.dtype, tensor] as const))('%s', async (dtype, tensor) => {
    const executable = await evaluator.load(unary('Identity', dtype))
    const { y } = await executable.run({ x: tensor })
    expect(y!.dtype).toBe(dtype)
    expect(y!.data).toEqual(tensor.data)
    await executable.release()
  })

  it('strings', async () => {
    const executable = await evaluator.load(unary('Identity', 'string'))
    const { y } = await executable.run({ x: Tensor.ofStrings(['a', 'é €', '']) })
    expect(y!.strings.map((bytes) => new TextDecoder().decode(bytes))).toEqual(['a', 'é €', ''])
  })

  it('empty tensors and scalars', async () => {
    const executable = await evaluator.load(unary('Neg', 'float32', 'any'))
    expect((await executable.run({ x: Tensor.of(new Float32Array(), [0, 3]) })).y!.shape).toEqual([0, 3])
    const { y } = await executable.run({ x: Tensor.of(Float32Array.of(2), []) })
    expect([y!.shape, y!.data]).toEqual([[], Float32Array.of(-2)])
  })

  it('data that are not aligned, and without a copy those that are', async () => {
    const bytes = new Uint8Array(13)
    bytes.set(new Uint8Array(Float32Array.of(1, 2, 3).buffer), 1)
    const executable = await evaluator.load(unary('Neg', 'float32'))
    const { y } = await executable.run({ x: Tensor.fromBytes('float32', [3], bytes.subarray(1)) })
    expect(y!.data).toEqual(Float32Array.of(-1, -2, -3))

    const given: unknown[] = []
    const watching: OrtRuntime = {
      InferenceSession: ort.InferenceSession,
      Tensor: new Proxy(ort.Tensor, {
        construct: (target, parameters) => {
          given.push(parameters[1])
          return Reflect.construct(target, parameters) as object
        },
      }),
    }
    const x = Float32Array.of(1, 2)
    await (await createEvaluator(watching).load(unary('Neg', 'float32'))).run({ x: Tensor.of(x, [2]) })
    expect((given[0] as Float32Array).buffer).toBe(x.buffer)
  })

  describe('float16 where Float16Array exists', () => {
    const holder = globalThis as { Float16Array?: unknown }
    const native = holder.Float16Array
    afterEach(() => {
      if (native === undefined) delete holder.Float16Array
      else holder.Float16Array = native
    })

    it('comes back as the same bits', async () => {
      // A runtime that hands out 16-bit views of another class, as onnxruntime-common does beside Float16Array.
      class Half extends Uint16Array {}
      holder.Float16Array = Half
      const half = fromNumbers(Float32Array.of(0.5, -3), [2], 'float16')
      const runtime: OrtRuntime = {
        Tensor: ort.Tensor,
        InferenceSession: {
          create: async () => ({
            inputNames: ['x'],
            outputNames: ['y'],
            run: async () => ({
              y: {
                type: 'float16',
                dims: [2],
                getData: async () => new Half(half.data as Uint16Array),
                dispose: () => {},
              },
            }),
            release: async () => {},
          }),
        },
      }
      const executable = await createEvaluator(runtime).load(unary('Neg', 'float16'))
      const { y } = await executable.run({ x: half })
      expect(toFloat32(y!)).toEqual(Float32Array.of(0.5, -3))
    })
  })
})

describe('load and run', () => {
  it('infers what outputs will be', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', ['n', 3])
    b.op('MatMul', [x, b.constant(randomTensor([3, 4], 1))], {}, 'y')
    b.graph.outputs.push({ name: 'y', type: undefined })
    const executable = await evaluator.load(b.model())
    expect([executable.inputNames, executable.outputNames]).toEqual([['x'], ['y']])
    expect(executable.outputTypes!.get('y')).toEqual({ kind: 'tensor', dtype: 'float32', shape: [null, 4] })
  })

  it('gives the outputs asked for', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [2])
    b.op('Neg', [x], {}, 'y')
    b.op('Abs', [x], {}, 'z')
    for (const name of ['y', 'z']) b.output(name, 'float32')
    const executable = await evaluator.load(b.model())
    expect(Object.keys(await executable.run({ x: randomTensor([2], 1) }, ['z']))).toEqual(['z'])
    await expect(executable.run({ x: randomTensor([2], 1) }, ['w'])).rejects.toThrow(
      "Output 'w': the model has no such output; it has 'y', 'z'.",
    )
  })

  it('reads large weights where they are: views, unaligned, shared, in subgraphs', async () => {
    const length = 20_000
    const bytes = new Uint8Array(4 * length + 5)
    const numbers = Float32Array.from({ length }, (_, i) => i)
    bytes.set(new Uint8Array(numbers.buffer), 5)
    const weight = Tensor.fromBytes('float32', [length], bytes.subarray(5))
    const branch = (name: string, operator: string) => {
      const graph = createGraph(name)
      graph.initializers.set(`${name}_w`, randomTensor([length], 1))
      graph.nodes.push(createNode(operator, ['x', `${name}_w`], [`${name}_o`]))
      graph.outputs.push({ name: `${name}_o`, type: undefined })
      return graph
    }
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [length])
    const sum = b.op('Sub', [b.op('Add', [x, b.constant(weight)]), b.constant(weight)])
    b.op('Add', [sum, b.constant(weight.reshape([1, length]))], {}, 'y')
    const yes = b.input('yes', 'bool', [])
    b.op('If', [yes], { then_branch: branch('a', 'Add'), else_branch: branch('b', 'Mul') }, 'z')
    for (const name of ['y', 'z']) b.graph.outputs.push({ name, type: undefined })
    for (const runtime of [ort, web]) {
      const executable = await createEvaluator(runtime).load(b.model())
      const feeds = { x: Tensor.of(new Float32Array(length), [length]), yes: Tensor.of(Uint8Array.of(1), [], 'bool') }
      const { y, z } = await executable.run(feeds)
      expect(y!.data).toEqual(numbers)
      expect(relativeError(randomTensor([length], 1), z!)).toBe(0)
      await executable.release()
    }
  })

  it('needs no feeds for initializers that are listed as inputs', async () => {
    const b = new GraphBuilder()
    b.op('Add', [b.input('x', 'float32', [2]), b.input('w', 'float32', [2])], {}, 'y')
    b.graph.initializers.set('w', Tensor.of(Float32Array.of(1, 2), [2]))
    b.output('y', 'float32')
    const { y } = await (await evaluator.load(b.model())).run({ x: Tensor.of(Float32Array.of(1, 1), [2]) })
    expect(y!.data).toEqual(Float32Array.of(2, 3))
  })

  it('runs one thing at a time, whatever is asked at once', async () => {
    let running = 0
    let most = 0
    const alone = async <T>(work: Promise<T>): Promise<T> => {
      most = Math.max(most, ++running)
      try {
        return await work
      } finally {
        running--
      }
    }
    const runtime: OrtRuntime = {
      Tensor: ort.Tensor,
      InferenceSession: {
        create: async (bytes) => {
          const session = await alone(ort.InferenceSession.create(bytes))
          return {
            inputNames: session.inputNames,
            outputNames: session.outputNames,
            run: (feeds, fetches) => alone(session.run(feeds as ort.InferenceSession.FeedsType, fetches)),
            release: () => alone(session.release()),
          }
        },
      },
    }
    const [one, two] = [createEvaluator(runtime), createEvaluator(runtime)]
    const x = randomTensor([2], 1)
    await Promise.all(
      [one, two, one].map(async (each) => {
        const executable = await each.load(unary('Neg', 'float32'))
        await Promise.all([executable.run({ x }), executable.run({ x })])
        await executable.release()
      }),
    )
    expect(most).toBe(1)
  })

  it('goes on after a failure', async () => {
    await expect(evaluator.load(unary('Nonsense', 'float32'))).rejects.toThrow()
    const executable = await evaluator.load(unary('Neg', 'float32'))
    const x = randomTensor([3], 1)
    expect(relativeError(x, (await (await evaluator.load(unary('Identity', 'float32'))).run({ x })).y!)).toBe(0)
    await executable.release()
    await executable.release()
    await expect(executable.run({ x })).rejects.toThrow('This executable was released; load the model again to run it.')
  })
})

describe('errors say what to do', () => {
  const twoInputs = (): Model => {
    const b = new GraphBuilder()
    const sum = b.op('Add', [b.input('a', 'float32', ['n', 3]), b.input('b', 'float32', undefined)])
    b.graph.nodes[0]!.name = 'sum'
    b.op('Relu', [sum], {}, 'y')
    b.output('y', 'float32')
    return b.model()
  }
  const a = randomTensor([2, 3], 1)

  const feeds: [string, Record<string, Tensor>, string, string][] = [
    ['a missing input', { a }, 'INVALID_ARGUMENT', "Feeds: each input needs a tensor; 'b' got none."],
    [
      'an unknown input',
      { a, b: a, c: a },
      'INVALID_ARGUMENT',
      "Feeds: the model has no input 'c'; its inputs are 'a', 'b'.",
    ],
    [
      'a wrong shape',
      { a: randomTensor([3, 2], 1), b: a },
      'SHAPE_MISMATCH',
      "Input 'a': must be float32 [n, 3]; got float32 [3, 2].",
    ],
    [
      'a wrong element type',
      { a: Tensor.of(new Float64Array(6), [2, 3]), b: a },
      'SHAPE_MISMATCH',
      "Input 'a': must be float32 [n, 3]; got float64 [2, 3].",
    ],
    [
      'shapes that only the run finds wrong',
      { a, b: randomTensor([2, 4], 1) },
      'ENGINE',
      "Add 'sum': ONNX Runtime cannot run the model: Attempting to broadcast an axis by a dimension other than 1. 3 by 4.",
    ],
  ]
  it.each(feeds)('%s', async (_, input, code, message) => {
    const executable = await evaluator.load(twoInputs())
    const error = await errorOf(executable.run(input))
    expect([error.code, error.message]).toEqual([code, message])
    await executable.release()
  })

  const models: [string, () => Model, string, unknown][] = [
    [
      'an unknown operator',
      () => unary('Nonsense', 'float32'),
      "Nonsense 'node_Nonsense_0': ONNX Runtime cannot load the model: No Op registered for Nonsense with domain_version of 17.",
      { node: 'node_Nonsense_0', op: 'Nonsense' },
    ],
    [
      'an operator of an unknown domain',
      () => {
        const model = unary('com.example::Odd', 'float32')
        model.opsets.set('com.example', 1)
        return model
      },
      'ONNX Runtime cannot load the model: Fatal error: com.example:Odd(-1) is not a registered function/op.',
      null,
    ],
    [
      'shapes that cannot be',
      () => {
        const b = new GraphBuilder()
        b.op('MatMul', [b.input('x', 'float32', [2, 3]), b.constant(randomTensor([4, 5], 1))], {}, 'y')
        b.output('y', 'float32')
        return b.model()
      },
      "MatMul 'node_MatMul_1': ONNX Runtime cannot load the model: Incompatible dimensions for matrix multiplication.",
      { node: 'node_MatMul_1', op: 'MatMul' },
    ],
    [
      'an operator without an implementation',
      () => unary('Relu', 'int16'),
      "Relu 'node_Relu_0': ONNX Runtime cannot load the model: Could not find an implementation for Relu(14) node with name 'node_Relu_0'.",
      { node: 'node_Relu_0', op: 'Relu' },
    ],
    [
      'an opset of the future',
      () => ({ ...unary('Neg', 'float32'), opsets: new Map([['', 99]]) }),
      'ONNX Runtime cannot load the model: ONNX Runtime only *guarantees* support for models stamped with official released onnx opset versions. Opset 99 is under development',
      null,
    ],
  ]
  it.each(models)('%s', async (_, model, message, details) => {
    const error = await errorOf(evaluator.load(model()))
    expect(error.code).toBe('ENGINE')
    expect(error.message.slice(0, message.length)).toBe(message)
    expect(error.message).not.toContain('\n')
    expect(error.details).toEqual(details)
  })

  it('a node without a name', async () => {
    const b = new GraphBuilder()
    b.graph.nodes.push(createNode('Gather', [b.input('x', 'float32', [2]), b.input('i', 'int64', [1])], ['y']))
    b.output('y', 'float32')
    const executable = await evaluator.load(b.model())
    const error = await errorOf(executable.run({ x: randomTensor([2], 1), i: Tensor.int64([7]) }))
    expect(error.message).toMatch(
      /^Gather \(a node without a name\): ONNX Runtime cannot run the model: indices element out of/,
    )
  })

  it('element types that the runtime’s JavaScript API does not have', async () => {
    const b = new GraphBuilder()
    b.op('Cast', [b.input('x', 'bfloat16', [2])], { to: 1 }, 'y')
    b.output('y', 'float32')
    const error = await errorOf(evaluator.load(b.model()))
    expect(error.message).toBe('ONNX Runtime cannot load the model: Unsupported data type: 16.')
  })

  it('a bad number of threads', () => {
    expect(() => createEvaluator(ort, { threads: 0 })).toThrow(
      'Option threads: must be a whole number of at least 1; got 0.',
    )
  })
})
