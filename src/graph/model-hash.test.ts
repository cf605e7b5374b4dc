import { describe, expect, it } from 'vitest'
import { Tensor } from '../tensor/index.ts'
import { cloneModel, GraphBuilder, type Model, modelHash } from './index.ts'

/** Large enough for its hash to be remembered. */
const LARGE = 20_000

function sample(): Model {
  const b = new GraphBuilder()
  const x = b.input('x', 'float32', [1, 'N'])
  const w = b.constant(
    Tensor.of(
      Float32Array.from({ length: 1001 }, (_, i) => i),
      [1001],
    ),
    'w',
  )
  b.constant(Tensor.of(new Float32Array(LARGE), [LARGE]), 'large')
  b.output(b.op('Conv', [x, w], { pads: [1, 1], auto_pad: 'VALID', value: Tensor.int64([3]) }, 'y'), 'float32')
  return b.model()
}

/** Changes that matter, each on a copy. */
const CHANGES: Record<string, (model: Model) => void> = {
  'a weight': ({ graph }) => {
    const data = (graph.initializers.get('w')!.data as Float32Array).slice()
    data[1000] = -1
    graph.initializers.set('w', Tensor.of(data, [1001]))
  },
  'a large weight': ({ graph }) => {
    const data = new Float32Array(LARGE)
    data[LARGE - 1] = 1
    graph.initializers.set('large', Tensor.of(data, [LARGE]))
  },
  'the shape of a weight': ({ graph }) => graph.initializers.set('w', graph.initializers.get('w')!.reshape([1, 1001])),
  'the element type of a weight': ({ graph }) =>
    graph.initializers.set('w', Tensor.fromBytes('int32', [1001], graph.initializers.get('w')!.bytes)),
  "a weight's name": ({ graph }) => {
    graph.initializers.set('v', graph.initializers.get('w')!)
    graph.initializers.delete('w')
  },
  'an attribute': ({ graph }) => graph.nodes[0]!.attributes.set('pads', { kind: 'ints', value: [1n, 2n] }),
  'an attribute left out': ({ graph }) => graph.nodes[0]!.attributes.delete('pads'),
  'an input': ({ graph }) => graph.nodes[0]!.inputs.push(''),
  "a node's name": ({ graph }) => (graph.nodes[0]!.name = 'other'),
  'an extent': ({ graph }) =>
    (graph.inputs[0] = { name: 'x', type: { kind: 'tensor', dtype: 'float32', shape: [2, 'N'] } }),
  'a missing shape': ({ graph }) =>
    (graph.inputs[0] = { name: 'x', type: { kind: 'tensor', dtype: 'float32', shape: undefined } }),
  'an operator set': ({ opsets }) => opsets.set('', 18),
}

describe('The hash of a model', () => {
  it('is the same for the same content', () => {
    expect(modelHash(sample())).toBe(modelHash(sample()))
    expect(modelHash(sample())).toMatch(/^[0-9a-f]{32}$/)
  })

  it.each(Object.keys(CHANGES))('differs by %s', (change) => {
    const changed = cloneModel(sample())
    CHANGES[change]!(changed)
    expect(modelHash(changed)).not.toBe(modelHash(sample()))
  })

  it('does not differ by metadata, producer, or the order of attributes and operator sets', () => {
    const changed = cloneModel(sample())
    changed.metadata.set('k', 'v')
    changed.producerName = 'other'
    const node = changed.graph.nodes[0]!
    node.attributes = new Map([...node.attributes].reverse())
    expect(modelHash(changed)).toBe(modelHash(sample()))
  })

  it('does not depend on where the bytes lie in memory', () => {
    const model = sample()
    const { bytes } = model.graph.initializers.get('w')!
    const shifted = new Uint8Array(bytes.length + 1).subarray(1)
    shifted.set(bytes)
    model.graph.initializers.set('w', Tensor.fromBytes('float32', [1001], shifted))
    expect(modelHash(model)).toBe(modelHash(sample()))
  })

  it('differs wherever one bit of a large weight does, and when elements change places', () => {
    const hashOf = (change: (data: Float32Array) => void): string => {
      const model = sample()
      const data = Float32Array.from({ length: LARGE + 1 }, (_, i) => i % 97)
      change(data)
      model.graph.initializers.set('large', Tensor.of(data, [LARGE + 1]))
      return modelHash(model)
    }
    const hashes = new Set([hashOf(() => {})])
    const places = [0, 1, 2, 3, 4, LARGE - 1, LARGE]
    for (const place of places) hashes.add(hashOf((data) => data.fill(-1, place, place + 1)))
    for (const [i, j] of [
      [1, 2],
      [4, 8],
      [1, LARGE],
    ] as const)
      hashes.add(
        hashOf((data) => {
          const [x, y] = [data[i]!, data[j]!]
          data[i] = y
          data[j] = x
        }),
      )
    expect(hashes.size).toBe(1 + places.length + 3)
  })

  it('differs wherever one bit of a weight does', () => {
    const bytes = new Uint8Array(67)
    const hashes = new Set<string>()
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.slice()
      flipped[bit >> 3] = 1 << (bit & 7)
      const b = new GraphBuilder()
      b.constant(Tensor.of(flipped, [67]), 'w')
      hashes.add(modelHash(b.model()))
    }
    expect(hashes.size).toBe(bytes.length * 8)
  })
})
