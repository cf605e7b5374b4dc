import { describe, expect, it } from 'vitest'
import { chooseForTarget, type MeasuredIntegers } from './choose.ts'

const fast: MeasuredIntegers = { saturates: false, speedup: { u8s8: 3, s8s8: 0.65, u8u8: 0.9 }, fastest: 'u8s8' }

describe('chooseForTarget', () => {
  it('takes the flavour of the profile when nothing is known', () => {
    expect(chooseForTarget({})).toMatchObject({
      target: 'node-cpu',
      activations: 'uint8',
      weights: 'int8',
      reduceRange: false,
      warnings: [],
    })
    expect(chooseForTarget({ target: 'tensorrt' })).toMatchObject({
      activations: 'int8',
      activationsSymmetric: true,
      floatBiases: true,
    })
  })

  it('takes the flavour that was measured to be fastest', () => {
    const arm: MeasuredIntegers = { saturates: false, speedup: { u8s8: 1.2, s8s8: 2.5, u8u8: 2 }, fastest: 's8s8' }
    expect(chooseForTarget({}, arm)).toMatchObject({ activations: 'int8', weights: 'int8' })
    expect(chooseForTarget({ activations: 'uint8' }, arm)).toMatchObject({ activations: 'uint8', weights: 'uint8' })
  })

  it('refuses a slow flavour with the measured ratio and the alternative', () => {
    expect(() => chooseForTarget({ activations: 'int8' }, fast)).toThrow(
      /^Target node-cpu: int8 activations with int8 weights are slow there, 54 % slower than float32 when measured: .*\. Use uint8 activations with int8 weights; target onnx takes everything and promises no speed\.$/,
    )
    expect(() => chooseForTarget({ activations: 'int16' })).toThrow('43 % slower than float32 when measured')
    expect(() => chooseForTarget({ target: 'webgpu' })).toThrow(
      'Use weights alone: format fp16, q4 or q4f16; target onnx',
    )
    expect(() => chooseForTarget({ target: 'tensorrt', activations: 'uint8' })).toThrow('TensorRT takes int8 only')
  })

  it('believes the measurement where a profile calls a flavour slow', () => {
    const other = { ...fast, speedup: { ...fast.speedup, s8s8: 1.5 } }
    expect(chooseForTarget({ activations: 'int8' }, other)).toMatchObject({ activations: 'int8', warnings: [] })
  })

  it('writes a slow flavour where that is allowed, and says so', () => {
    const { activations, warnings } = chooseForTarget({ activations: 'int16', allowSlow: true })
    expect(activations).toBe('int16')
    expect(warnings).toHaveLength(1)
    expect(chooseForTarget({ target: 'onnx', activations: 'int16' }).warnings).toEqual([])
  })

  it('takes a bit off weights where sums saturate, unless weights are unsigned or bits were chosen', () => {
    const old = { ...fast, saturates: true }
    expect(chooseForTarget({}, old)).toMatchObject({ reduceRange: true })
    expect(chooseForTarget({}, old).warnings).toEqual([
      'Weights have 7 bits: sums of products of 8 bits saturate on this processor.',
    ])
    expect(chooseForTarget({ weightBits: 7 }, old)).toMatchObject({ reduceRange: false, warnings: [] })
    expect(chooseForTarget({ reduceRange: false }, old).warnings).toHaveLength(1)
    expect(chooseForTarget({ weights: 'uint8', allowSlow: true }, old)).toMatchObject({ reduceRange: false })
  })

  it('lists the targets there are', () => {
    expect(() => chooseForTarget({ target: 'cpu' })).toThrow(
      "Target 'cpu': must be one of node-cpu, wasm, webgpu, tensorrt, ascend, onnx.",
    )
  })
})
