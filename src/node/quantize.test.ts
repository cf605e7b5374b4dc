import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { cifarBatch, smallNetwork } from '../../test/support/small-network.ts'
import { datasets, quantize } from './index.ts'

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
