/** What a compression record says, as text. */
import type { CompressionRecord, LayerRecord, Skip } from '../compress/index.ts'
import { formatBytes, formatChange, formatCount, formatError, formatPercent } from './numbers.ts'
import { type Column, formatTable } from './table.ts'

const right = (title: string): Column => ({ title, align: 'right' })

/** Ranks as one word: `32`, or `in 16, out 24` when there are several. */
export function formatRanks(ranks: Readonly<Record<string, number>>): string {
  const entries = Object.entries(ranks)
  if (entries.length === 1) return String(entries[0]![1])
  return entries.map(([role, rank]) => `${role} ${rank}`).join(', ')
}

/** A table of the layers that were changed: method, ranks, parameters, MACs and error. */
export function formatLayers(layers: readonly LayerRecord[]): string {
  const withOutput = layers.some((layer) => layer.outputError !== undefined)
  const columns = [
    'layer',
    'op',
    'method',
    right('rank'),
    right('parameters'),
    right('after'),
    right('MACs'),
    right('after'),
    right('weight error'),
    ...(withOutput ? [right('output error')] : []),
  ]
  const rows = layers.map((layer) => [
    layer.name,
    layer.op,
    layer.method,
    formatRanks(layer.ranks),
    formatCount(layer.parameters.before),
    formatCount(layer.parameters.after),
    formatCount(layer.macs.before),
    formatCount(layer.macs.after),
    formatError(layer.relativeError),
    ...(withOutput ? [layer.outputError === undefined ? '' : formatError(layer.outputError)] : []),
  ])
  return formatTable(columns, rows)
}

/** Layers left alone, one line per reason with the names it holds for. */
export function formatSkips(skips: readonly Skip[]): string {
  const byReason = new Map<string, string[]>()
  for (const { name, reason } of skips) byReason.set(reason, [...(byReason.get(reason) ?? []), name])
  return [...byReason].map(([reason, names]) => `  ${names.join(', ')}: ${reason}`).join('\n')
}

/** Parameters, bytes, MACs and measurements of the whole network, before and after. */
export function formatTotals(record: Pick<CompressionRecord, 'before' | 'after' | 'measured'>): string {
  const { before, after, measured } = record
  const count = (label: string, a: number | null, b: number | null, format: (value: number | null) => string) => [
    label,
    format(a),
    format(b),
    formatChange(a, b),
  ]
  const share = (value: number | null): string => (value === null ? '?' : formatPercent(value))
  return formatTable(
    ['', right('before'), right('after'), right('change')],
    [
      count('parameters', before.parameters, after.parameters, formatCount),
      count('bytes', before.bytes, after.bytes, formatBytes),
      count('MACs', before.macs, after.macs, formatCount),
      ...measured.map(({ metric, before: a, after: b, data, samples }) => {
        const points = a === null || b === null ? '' : `${b < a ? '−' : '+'}${(Math.abs(b - a) * 100).toFixed(2)} pts`
        return [`${metric} on ${samples} of ${data}`, share(a), share(b), points]
      }),
    ],
  )
}

/** A whole record: changed layers, layers left alone with their reasons, totals and warnings. */
export function formatRecord(record: CompressionRecord): string {
  const parts = [
    record.layers.length > 0 ? formatLayers(record.layers) : 'No layer was changed.',
    record.skips.length > 0 ? `Left alone:\n${formatSkips(record.skips)}` : '',
    formatTotals(record),
    record.warnings.map((warning) => `Warning: ${warning}`).join('\n'),
  ]
  return parts.filter((part) => part !== '').join('\n\n')
}
