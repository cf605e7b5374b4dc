import { describe, expect, it } from 'vitest'
import { Tensor } from '../tensor/index.ts'
import { type Checkpoint, checkIdentity, decodeCheckpoint, encodeCheckpoint } from './checkpoint.ts'

const example: Checkpoint = {
  identity: { model: 'abc', lr: 0.1 },
  step: 7,
  progress: { history: [1, 2] },
  tensors: new Map([
    ['weight', Tensor.of(Float32Array.of(1.5, -2, 3), [3])],
    ['scalar', Tensor.of(Float32Array.of(4), [])],
    ['empty', Tensor.of(new Float32Array(0), [0, 2])],
    ['bytes', Tensor.of(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9), [9])],
  ]),
}

function bytesOf(checkpoint: Checkpoint): Uint8Array {
  return Uint8Array.from(encodeCheckpoint(checkpoint).flatMap((chunk) => [...chunk]))
}

describe('checkpoints', () => {
  it('come back as they were', () => {
    const { tensors, ...rest } = decodeCheckpoint(bytesOf(example), 'run')
    expect(rest).toEqual({ identity: example.identity, step: 7, progress: example.progress })
    expect([...tensors.keys()]).toEqual([...example.tensors.keys()])
    for (const [name, { dtype, shape, bytes }] of example.tensors) {
      const found = tensors.get(name)!
      expect([found.dtype, found.shape, [...found.bytes]]).toEqual([dtype, shape, [...bytes]])
    }
  })

  it('are refused when cut off anywhere or changed anywhere', () => {
    const whole = bytesOf(example)
    for (let length = 0; length < whole.length; length++)
      expect(() => decodeCheckpoint(whole.slice(0, length), 'run'), `${length} bytes`).toThrow(/^Checkpoint in run: /)
    for (let at = 0; at < whole.length; at++) {
      const changed = whole.slice()
      changed[at]! ^= 0x10
      expect(() => decodeCheckpoint(changed, 'run'), `byte ${at}`).toThrow(/^Checkpoint in run: /)
    }
    expect(() => decodeCheckpoint(Uint8Array.of(...whole, 0), 'run')).toThrow('1 bytes follow its end')
  })

  it('say what they are of when that is something else', () => {
    expect(() => checkIdentity({ a: 1, b: 2 }, { a: 1, b: 2 }, 'run')).not.toThrow()
    expect(() => checkIdentity({ a: 1, b: 'x' }, { a: 2, c: true }, 'run')).toThrow(
      "Checkpoint in run: must be of this model and these options to be resumed; 'a' was 1 and is 2 (and 2 more differ: b, c). Resume with what it was begun with, or take another folder.",
    )
  })
})
