import { describe, expect, it } from 'vitest'
import type { RollbackRecord } from '../compress/index.ts'
import { formatAnalysis, formatDiagnosis, formatRollback } from './index.ts'

const record: RollbackRecord = {
  strategy: 'greedy',
  maxDrop: 0.5,
  metric: 'top1',
  layers: ['a', 'b', 'c'],
  status: 'partly-rolled-back',
  rolledBack: ['b'],
  original: 0.92,
  quantized: 0.9,
  final: 0.918,
  trials: [
    { rolledBack: [], metric: 0.9, verdict: { satisfied: false, loss: 2 } },
    { rolledBack: ['b'], metric: 0.918, verdict: { satisfied: true, loss: 0.2 } },
  ],
  evaluations: 2,
  probes: 7,
  ranking: [{ layer: 'b', score: 3 }],
}

describe('formatRollback', () => {
  it('shows every trial, what stays in floating point, and the effort', () => {
    expect(formatRollback(record)).toBe(
      [
        'Roll-back (greedy, limit 0.5 points; original 92.00 %):',
        'trial  rolled back     top1     change',
        '────────────────────────────────────────────',
        '    1       0 of 3  90.00 %  −2.00 pts  fails',
        '    2       1 of 3  91.80 %  −0.20 pts  holds',
        'In floating point:',
        '  b',
        '2 evaluations, 7 runs over calibration samples.',
      ]
        .join('\n')
        .replace(/─+/, '─'.repeat(45)),
    )
  })

  it('says when nothing is left, and that the caller judged', () => {
    const all = { ...record, status: 'original', maxDrop: null, probes: 0, evaluations: 1 } as const
    const text = formatRollback({
      ...all,
      trials: [{ rolledBack: ['a', 'b', 'c'], metric: null, verdict: { satisfied: true, loss: 0 } }],
    })
    expect(text).toContain('judged by the caller')
    expect(text).toMatch(/3 of 3 {2}92\.00 % {2}±0\.00 pts {2}holds/)
    expect(text).toContain('Every layer had to be rolled back.\n1 evaluation.')
  })
})

describe('formatAnalysis', () => {
  it('shows what a layer does alone and in the whole', () => {
    const measures = (relativeError: number) => ({
      relativeError,
      sqnr: -20 * Math.log10(relativeError),
      cosine: 0.999,
    })
    const text = formatAnalysis([
      { name: 'conv', op: 'Conv', alone: measures(0.01), accumulated: measures(0.1) },
      {
        name: 'same',
        op: 'Add',
        alone: { relativeError: 0, sqnr: Number.POSITIVE_INFINITY, cosine: 1 },
        accumulated: measures(0.1),
      },
    ])
    const lines = text.split('\n').map((line) => line.replace(/ +/g, ' '))
    expect(lines[2]).toBe('conv Conv 40.0 dB 0.99900 0.0100 20.0 dB 0.99900 0.100')
    expect(lines[3]).toBe('same Add equal 1.00000 0 20.0 dB 0.99900 0.100')
  })
})

describe('formatDiagnosis', () => {
  it('shows what was found and what to do, or that there is nothing', () => {
    expect(formatDiagnosis([], 32)).toBe('Nothing that usually goes wrong was found (32 samples looked at).')
    const finding = {
      severity: 'warning',
      code: 'too-few-samples',
      found: 'There is 1 sample.',
      advice: 'Give more.',
    } as const
    expect(formatDiagnosis([finding], 1)).toBe(
      'warning too-few-samples\n  There is 1 sample.\n  → Give more.\n\n1 finding (1 sample looked at)',
    )
  })
})
