import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { GraphBuilder } from '../src/graph/index.ts'
import { encodeModel, encodeModelWithExternalData } from '../src/onnx/index.ts'
import { Tensor } from '../src/tensor/index.ts'

/** y = condition ? x + a : x − b, with b inside the branch and c, of a page and more, added. */
function model() {
  const numbers = (count: number): Tensor =>
    Tensor.of(
      Float32Array.from({ length: count }, (_, i) => Math.sin(i)),
      [count],
    )
  const branch = (op: string, inner: boolean): GraphBuilder => {
    const b = new GraphBuilder(op)
    b.output(b.op(op, ['x', inner ? b.constant(numbers(400_000), 'b') : 'a'], {}, `${op} result`), 'float32')
    return b
  }
  const b = new GraphBuilder()
  b.input('x', 'float32', [400_000])
  b.input('condition', 'bool', [])
  b.constant(numbers(400_000), 'a')
  const y = b.op('If', ['condition'], {
    then_branch: branch('Add', false).graph,
    else_branch: branch('Sub', true).graph,
  })
  b.output(b.op('Add', [y, b.constant(numbers(400_000), 'c')]), 'float32', [400_000])
  return b.model()
}

async function outputsOf(session: ort.InferenceSession): Promise<unknown[]> {
  const x = new ort.Tensor('float32', new Float32Array(400_000).fill(0.5), [400_000])
  const outputs: unknown[] = []
  for (const value of [1, 0]) {
    const condition = new ort.Tensor('bool', Uint8Array.of(value), [])
    outputs.push(Object.values(await session.run({ x, condition }))[0]?.data)
  }
  await session.release()
  return outputs
}

describe('Weights in a second file', () => {
  it('are found by ONNX Runtime, those of subgraphs too', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'whittle-external-'))
    try {
      const { chunks, external } = encodeModelWithExternalData(model(), { location: 'model.data' })
      writeFileSync(join(folder, 'model.onnx'), Buffer.concat(chunks))
      const data = openSync(join(folder, 'model.data'), 'w')
      for (const { offset, tensor } of external.parts) writeSync(data, tensor.bytes, 0, tensor.byteLength, offset)
      closeSync(data)
      expect(external.parts).toHaveLength(3)
      const split = await ort.InferenceSession.create(join(folder, 'model.onnx'))
      const whole = await ort.InferenceSession.create(encodeModel(model()))
      expect(isDeepStrictEqual(await outputsOf(split), await outputsOf(whole))).toBe(true)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
