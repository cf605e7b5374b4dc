import { describe, expect, it } from 'vitest'
import type { CompressionRecord } from '../compress/index.ts'
import {
  formatBytes,
  formatChange,
  formatCount,
  formatError,
  formatMilliseconds,
  formatPercent,
  formatRecord,
  formatTable,
} from './index.ts'

describe('numbers for people', () => {
  it.each([
    [null, '?'],
    [16, '16'],
    [999, '999'],
    [1000, '1.00 k'],
    [272_474, '272 k'],
    [40_813_184, '40.8 M'],
    [999_960, '1.00 M'],
    [4_100_000_000, '4.10 G'],
  ])('count %s is %s', (count, text) => expect(formatCount(count)).toBe(text))

  it.each([
    [0.4123, '0.412 ms'],
    [12.34, '12.3 ms'],
    [999.7, '1.0 s'],
    [4200, '4.2 s'],
    [200_000, '3 min 20 s'],
    [3_599_800, '1 h 0 min'],
    [5_400_000, '1 h 30 min'],
  ])('%s milliseconds are %s', (milliseconds, text) => expect(formatMilliseconds(milliseconds)).toBe(text))

  it('shows bytes, shares, changes and errors', () => {
    expect(formatBytes(1_093_331)).toBe('1.09 MB')
    expect(formatPercent(0.917)).toBe('91.70 %')
    expect(formatChange(200, 96)).toBe('−52.0 %')
    expect(formatChange(200, 206)).toBe('+3.0 %')
    expect(formatChange(null, 206)).toBe('?')
    expect(formatError(0.03124)).toBe('0.0312')
    expect(formatError(4.12e-7)).toBe('4.1e-7')
    expect(formatError(0)).toBe('0')
  })
})

describe('formatTable', () => {
  it('aligns columns by their width on screen and leaves no blanks at the end of a line', () => {
    expect(
      formatTable(['name', { title: 'n', align: 'right' }, 'note'], [['卷积', '5', ''], ['-'], ['é', '10', 'x']]),
    ).toBe(['name   n  note', '──────────────', '卷积   5', '──────────────', 'é     10  x'].join('\n'))
  })
})

describe('formatRecord', () => {
  const record: CompressionRecord = {
    whittle: '0.1.0',
    method: 'low-rank',
    seed: 0,
    plan: { method: 'low-rank', version: 1, model: '', seed: 0, steps: [], skips: [], warnings: [] },
    before: { parameters: 1000, bytes: 4000, macs: null },
    after: { parameters: 600, bytes: 2400, macs: null },
    layers: [
      {
        name: 'conv',
        op: 'Conv',
        method: 'tucker',
        ranks: { output: 8, input: 4 },
        parameters: { before: 900, after: 500 },
        macs: { before: null, after: null },
        relativeError: 0.125,
      },
    ],
    skips: [
      { name: 'a', reason: 'It is small.' },
      { name: 'b', reason: 'It is small.' },
    ],
    measured: [
      { metric: 'top1', before: 0.917, after: 0.905, data: 'cifar10:test', samples: 750, command: '' },
      { metric: 'latency', before: 2, after: 1.5, data: 'random inputs', samples: 20, command: '' },
    ],
    warnings: ['Look out.'],
  }

  it('shows layers, reasons once with their names, totals, measurements and warnings', () => {
    const lines = formatRecord(record)
      .split('\n')
      .map((line) => line.replace(/ +/g, ' '))
    expect(lines).toContain('conv Conv tucker output 8, input 4 900 500 ? ? 0.125')
    expect(lines).toContain(' a, b: It is small.')
    expect(lines).toContain('weight bytes 4.00 kB 2.40 kB −40.0 %')
    expect(lines).toContain('MACs ? ? ?')
    expect(lines).toContain('top1 (750 of cifar10:test) 91.70 % 90.50 % −1.20 pts')
    expect(lines).toContain('latency (20 of random inputs) 2.00 ms 1.50 ms −25.0 %')
    expect(lines.at(-1)).toBe('Warning: Look out.')
  })
})
