/** Roll-backs, analyses and diagnoses of quantization as text. */
import type { RollbackRecord } from '../compress/index.ts'
import { formatError, formatPercent } from './numbers.ts'
import { type Column, formatTable } from './table.ts'

const right = (title: string): Column => ({ title, align: 'right' })

/** Names one after the other, lines not longer than a terminal is wide. */
function wrapNames(names: readonly string[], width = 100): string {
  const lines: string[] = []
  for (const name of names) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + name.length + 2 <= width) lines[lines.length - 1] = `${last}, ${name}`
    else lines.push(`  ${name}`)
  }
  return lines.join('\n')
}

const points = (loss: number): string => `${loss > 0 ? '−' : loss < 0 ? '+' : '±'}${Math.abs(loss).toFixed(2)} pts`

/** A roll-back: every evaluated network, the layers that stay in floating point, and what it took to find them. */
export function formatRollback(record: RollbackRecord): string {
  const { trials, rolledBack, layers, metric, strategy, maxDrop, original, evaluations, probes, status } = record
  const rows = trials.map(({ rolledBack: names, metric: found, verdict }, i) => [
    String(i + 1),
    `${names.length} of ${layers.length}`,
    formatPercent(found ?? original),
    points(verdict.loss),
    verdict.satisfied ? 'holds' : 'fails',
  ])
  const table = formatTable([right('trial'), right('rolled back'), right(metric), right('change'), ''], rows)
  const limit = maxDrop === null ? 'judged by the caller' : `limit ${maxDrop} points`
  const heading = `Roll-back (${strategy}, ${limit}; original ${formatPercent(original)}):`
  const effort = `${evaluations} evaluation${evaluations === 1 ? '' : 's'}${probes > 0 ? `, ${probes} run${probes === 1 ? '' : 's'} over calibration samples` : ''}.`
  const found =
    status === 'quantized'
      ? 'Every layer stays quantized.'
      : status === 'original'
        ? 'Every layer had to be rolled back.'
        : `In floating point:\n${wrapNames(rolledBack)}`
  return [heading, table, found, effort].join('\n')
}

/** Measures of one value that differs between two networks. */
export interface DifferenceMeasures {
  /** ‖A − B‖ / ‖A‖. */
  readonly relativeError: number
  /** In dB; infinite when equal. */
  readonly sqnr: number
  /** ⟨A, B⟩ / (‖A‖ ‖B‖). */
  readonly cosine: number
}

/** A layer of an analysis. */
export interface AnalysedLayer {
  /** Name of the node. */
  readonly name: string
  /** Its operator. */
  readonly op: string
  /** With the original's values as its inputs. */
  readonly alone: DifferenceMeasures
  /** In the quantized network as a whole. */
  readonly accumulated: DifferenceMeasures
}

/** Signal to noise in decibels, or that there is no noise. */
export function formatSqnr(sqnr: number): string {
  return Number.isFinite(sqnr) ? `${sqnr.toFixed(1)} dB` : sqnr > 0 ? 'equal' : '?'
}

/** Layers of a quantized network, in the given order: what each does alone, and what has come together up to it. */
export function formatAnalysis(layers: readonly AnalysedLayer[]): string {
  const measures = ({ sqnr, cosine, relativeError }: DifferenceMeasures): string[] => [
    formatSqnr(sqnr),
    cosine.toFixed(5),
    formatError(relativeError),
  ]
  return formatTable(
    [
      'layer',
      'op',
      right('SQNR alone'),
      right('cosine'),
      right('rel. error'),
      right('SQNR so far'),
      right('cosine'),
      right('rel. error'),
    ],
    layers.map(({ name, op, alone, accumulated }) => [name, op, ...measures(alone), ...measures(accumulated)]),
  )
}

/** One thing that a doctor found. */
export interface FindingText {
  /** How bad it is. */
  readonly severity: 'error' | 'warning' | 'note'
  /** What it is, for programs. */
  readonly code: string
  /** A sentence with numbers. */
  readonly found: string
  /** What to do about it. */
  readonly advice: string
}

/** Findings, one paragraph each; a sentence when there are none. @param samples that were looked at. */
export function formatDiagnosis(findings: readonly FindingText[], samples: number): string {
  const seen =
    samples > 0
      ? ` (${samples} sample${samples === 1 ? '' : 's'} looked at)`
      : ' (without data: only the network was looked at)'
  if (findings.length === 0) return `Nothing that usually goes wrong was found${seen}.`
  const paragraphs = findings.map(
    ({ severity, code, found, advice }) => `${severity} ${code}\n  ${found}\n  → ${advice}`,
  )
  const count = findings.length === 1 ? '1 finding' : `${findings.length} findings`
  return `${paragraphs.join('\n')}\n\n${count}${seen}`
}
