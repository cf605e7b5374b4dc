// Puts a section's table into docs/performance.md, between its marks, so that the page never says what nobody measured.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './environment.mjs'

const PAGE = join(ROOT, 'docs', 'performance.md')

/** Replaces what stands between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`. @throws Error without these marks. */
export function writeIntoDocument(name, { text, goals, machine, threads }) {
  const page = readFileSync(PAGE, 'utf8')
  const [begin, end] = [`<!-- bench:${name} -->`, `<!-- /bench:${name} -->`]
  const from = page.indexOf(begin)
  const to = page.indexOf(end)
  if (from < 0 || to < from)
    throw new Error(`docs/performance.md has no place for section '${name}': ${begin} … ${end}.`)
  const [cpu, cores] = [machine.cpu, `${machine.cores} cores`]
  const versions = ['node', 'onnxruntime-node', 'torch', 'numpy', 'tensorly', 'onnx']
    .filter((key) => machine[key])
    .map((key) => `${key} ${machine[key]}`)
  const date = new Date().toISOString().slice(0, 10)
  const lines = goals.map(({ goal, holds, found }) => `${holds ? 'holds ' : 'MISSED'}  ${goal}: ${found}`)
  const block = [
    begin,
    `${date}, ${cpu}, ${cores}, ${threads} threads on both sides; ${versions.join(', ')}:`,
    '',
    '```text',
    text,
    ...(lines.length > 0 ? ['', ...lines] : []),
    '```',
  ].join('\n')
  writeFileSync(PAGE, `${page.slice(0, from)}${block}\n${page.slice(to)}`)
}
