import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { cifarBatch, smallNetwork } from '../../test/support/small-network.ts'
import { analyseQuantization, datasets, diagnose, quantize } from './index.ts'

test('quantize takes a dataset, and prepares samples as it is told', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'whittle-test-'))
  writeFileSync(join(folder, 'test_batch.bin'), cifarBatch(20))
  const stages = new Set<string>()
  const ranges = await Promise.all(
    (['none', 'cifar10'] as const).map(async (preprocess) => {
      const { plan, record } = await quantize(smallNetwork({ channels: 4 }), {
        data: datasets.cifar10(folder),
        preprocess,
        limit: 16,
        calibration: 'percentile',
        onProgress: ({ stage }) => stages.add(stage),
      })
      expect(record.layers).toHaveLength(3)
      if (!('activations' in plan)) throw new Error('weights alone')
      expect(plan.activations.every(({ algorithm }) => algorithm === 'percentile')).toBe(true)
      return plan.activations.find(({ tensor }) => tensor === 'image')!.range
    }),
  )
  // Bytes as they are, or around zero.
  expect(ranges[0]!.min).toBeGreaterThanOrEqual(0)
  expect(ranges[1]!.min).toBeLessThan(-1)
  expect(stages).toEqual(new Set(['collect statistics', 'quantize']))
})

test('diagnose and analyseQuantization take a dataset, prepared as it is told', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'whittle-test-'))
  writeFileSync(join(folder, 'test_batch.bin'), cifarBatch(40))
  const model = smallNetwork({ channels: 4 })
  const data = datasets.cifar10(folder)
  const codes = async (options: Parameters<typeof diagnose>[1]) =>
    (await diagnose(model, options)).findings.map(({ code }) => code)
  expect(await codes({ data })).toContain('raw-pixels')
  expect(await codes({ data, preprocess: 'cifar10' })).not.toContain('raw-pixels')
  expect((await diagnose(model, { data, preprocess: 'cifar10', limit: 20 })).samples).toBe(20)
  expect((await diagnose(model)).samples).toBe(0)
  const quantized = await quantize(model, { data, preprocess: 'cifar10' })
  const { layers, batches } = await analyseQuantization(model, quantized.model, {
    data,
    preprocess: 'cifar10',
    batch: 16,
  })
  expect(batches).toBe(3)
  expect(layers).toHaveLength(6)
  for (const { alone } of layers) expect(alone.relativeError).toBeLessThan(0.2)
  expect(layers[0]!.alone.relativeError).toBeGreaterThan(0)
})
