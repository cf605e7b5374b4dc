import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { GraphBuilder, type Model } from '../graph/index.ts'
import { Tensor } from '../tensor/index.ts'
import { loadModel, saveModel } from './files.ts'

const folder = (): string => mkdtempSync(join(tmpdir(), 'whittle-files-'))

function sample(): Model {
  const b = new GraphBuilder()
  const x = b.input('x', 'float32', ['N', 600])
  const weight = Tensor.of(
    Float32Array.from({ length: 600 * 700 }, (_, i) => Math.sin(i)),
    [600, 700],
  )
  const scale = Tensor.of(Float32Array.of(3), [])
  b.op('Mul', [b.op('MatMul', [x, b.constant(weight, 'w')]), b.constant(scale, 's')], {}, 'y')
  b.output('y', 'float32', ['N', 700])
  return b.model()
}

describe('saveModel and loadModel', () => {
  it.each([undefined, true])('bring a model back as it was (external weights: %s)', async (externalData) => {
    const path = join(folder(), 'model.onnx')
    const model = sample()
    await saveModel(model, path, { externalData })
    const back = await loadModel(path)
    expect(back.graph.nodes).toEqual(model.graph.nodes)
    expect(back.graph.initializers.get('w')!.isLazy).toBe(externalData === true)
    for (const [name, { bytes }] of model.graph.initializers)
      expect(Buffer.from(back.graph.initializers.get(name)!.bytes).equals(bytes)).toBe(true)
    const files = readdirSync(join(path, '..')).sort()
    expect(files).toEqual(externalData ? ['model.onnx', 'model.onnx.data'] : ['model.onnx'])
  })

  it('saves over the files that a model with external weights is read from', async () => {
    const path = join(folder(), 'model.onnx')
    await saveModel(sample(), path, { externalData: true })
    await saveModel(await loadModel(path), path, { externalData: true })
    const back = await loadModel(path)
    expect(
      Buffer.from(back.graph.initializers.get('w')!.bytes).equals(sample().graph.initializers.get('w')!.bytes),
    ).toBe(true)
  })

  it('says which file of external weights is missing or cut off, when they are asked for', async () => {
    const path = join(folder(), 'model.onnx')
    await saveModel(sample(), path, { externalData: true })
    truncateSync(`${path}.data`, 1000)
    const cut = await loadModel(path)
    expect(() => cut.graph.initializers.get('w')!.bytes).toThrow('the file has 1000. It is cut off')
    rmSync(`${path}.data`)
    const missing = await loadModel(path)
    expect(() => missing.graph.initializers.get('w')!.bytes).toThrow('there is no such file or folder')
  })

  it('names what is wrong with a file', async () => {
    const dir = folder()
    writeFileSync(join(dir, 'empty.onnx'), '')
    writeFileSync(join(dir, 'huge.onnx'), '')
    truncateSync(join(dir, 'huge.onnx'), 3 * 2 ** 30)
    await expect(loadModel(join(dir, 'none.onnx'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(loadModel(dir)).rejects.toThrow('must be a file')
    await expect(loadModel(join(dir, 'empty.onnx'))).rejects.toThrow('the file is empty')
    await expect(loadModel(join(dir, 'huge.onnx'))).rejects.toThrow(
      'is smaller than 2 GiB; this one has 3221225472 bytes',
    )
  })

  it('reads nothing when it was cancelled', async () => {
    const path = join(folder(), 'model.onnx')
    await saveModel(sample(), path)
    await expect(loadModel(path, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' })
  })
})
