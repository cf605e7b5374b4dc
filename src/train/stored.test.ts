import { describe, expect, it } from 'vitest'
import { randomTensor } from '../../test/support/tensors.ts'
import { Tensor, toFloat32 } from '../tensor/index.ts'
import { type Carrier, pack, unpack } from './stored.ts'

const type = (...shape: number[]) => ({ dtype: 'float32' as const, shape })

describe('what steps hand on', () => {
  const kernel = randomTensor([4, 3, 2, 2], 1)
  const scale = randomTensor([5], 2)
  const order = { parts: [4, 3, 4], order: [2, 1, 0] }

  it('has a kernel alone in the order that is wanted, element by element', () => {
    const carrier: Carrier = { name: 'inner', members: [{ name: 'kernel', type: type(4, 3, 2, 2), order }] }
    const packed = pack(carrier, () => kernel)
    expect(packed.shape).toEqual([4, 3, 4])
    const [given, made] = [toFloat32(kernel), toFloat32(packed)]
    for (let out = 0; out < 4; out++)
      for (let into = 0; into < 3; into++)
        for (let tap = 0; tap < 4; tap++)
          expect(made[(tap * 3 + into) * 4 + out]).toBe(given[(out * 3 + into) * 4 + tap])
  })

  it('comes back bit for bit, from one vector too', () => {
    const tensors = new Map([
      ['kernel', kernel],
      ['scale', scale],
      ['number', Tensor.of(Float32Array.of(7), [])],
    ])
    const carrier: Carrier = {
      name: 'packed',
      members: [
        { name: 'scale', type: type(5) },
        { name: 'kernel', type: type(4, 3, 2, 2), order },
        { name: 'number', type: type() },
      ],
    }
    const packed = pack(carrier, (name) => tensors.get(name)!)
    expect(packed.shape).toEqual([5 + 48 + 1])
    const members = new Map(unpack(carrier, packed))
    expect([...members.keys()]).toEqual(['scale', 'kernel', 'number'])
    for (const [name, tensor] of tensors) {
      expect(members.get(name)!.shape).toEqual(tensor.shape)
      expect([...members.get(name)!.bytes]).toEqual([...tensor.bytes])
    }
  })
})
