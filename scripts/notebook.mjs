// Runs the TypeScript cells of a Markdown page and puts what each prints into the block that follows it. A page so made
// is checked by running it again.
//   node scripts/notebook.mjs PAGE.md            runs it and shows the page on stdout
//   node scripts/notebook.mjs PAGE.md --write    puts the outputs into the page
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { formatWithOptions } from 'node:util'
import ts from 'typescript'
import { describeDiagnostics, readProject } from './build.mjs'

const ROOT = join(import.meta.dirname, '..')
const FOLDER = join(ROOT, '.cache', 'notebooks')
const CELL = /^```ts\n([\s\S]*?)^```\n(?:\n```text\n[\s\S]*?^```\n)?/gm

/** Code cells of a page, in order. */
export function cellsOf(page) {
  return [...page.matchAll(CELL)].map(([, code]) => code)
}

/** The page with each cell followed by what it printed. */
export function withOutputs(page, outputs) {
  let at = 0
  return page.replace(CELL, (_, code) => {
    const output = outputs[at++]
    return `\`\`\`ts\n${code}\`\`\`\n${output === '' ? '' : `\n\`\`\`text\n${output}\`\`\`\n`}`
  })
}

/** One module of all cells. Isolated cells have a scope each; otherwise later cells see the names of earlier ones. */
function moduleOf(cells, isolated) {
  const imports = new Set()
  const bodies = cells.map((code, cell) => {
    const lines = code.split('\n')
    const own = lines.filter((line) => line.startsWith('import '))
    for (const line of own) imports.add(line)
    // Imports keep their lines, so that messages name the line of the cell.
    const body = lines.map((line) => (line.startsWith('import ') ? '' : line)).join('\n')
    return `__cell(${cell})\n${isolated ? `{\n${body}}\n` : body}`
  })
  const head = [
    'declare const __cell: (cell: number) => void',
    'declare const console: { log(...values: unknown[]): void }',
    ...mergedImports(imports),
  ]
  return `${head.join('\n')}\n${bodies.join('\n')}\nexport {}\n`
}

/** Imports by module, each name once. */
function mergedImports(lines) {
  const names = new Map()
  const others = new Set()
  for (const line of lines) {
    const match = /^import \{(.*)\} from '(.*)'$/.exec(line)
    if (!match) others.add(line)
    else for (const name of match[1].split(',')) addTo(names, match[2], name.trim())
  }
  return [...others, ...[...names].map(([from, set]) => `import { ${[...set].join(', ')} } from '${from}'`)]
}

function addTo(map, key, value) {
  if (value !== '') map.set(key, (map.get(key) ?? new Set()).add(value))
}

/**
 * Type-checks and runs cells.
 *
 * @param name of the page, for messages.
 * @returns what each cell printed.
 * @throws Error with the compiler's or the cell's message.
 */
export async function runCells(name, cells, { isolated = false } = {}) {
  mkdirSync(FOLDER, { recursive: true })
  const stem = join(FOLDER, `${name.replaceAll(/\W+/g, '-')}-${process.pid}`)
  const source = `${stem}.ts`
  try {
    writeFileSync(source, moduleOf(cells, isolated))
    const { options } = readProject('tsconfig.node.json')
    const program = ts.createProgram([source], {
      ...options,
      noEmit: true,
      noUnusedLocals: false,
      noUnusedParameters: false,
      rootDir: ROOT,
      isolatedDeclarations: false,
      types: [],
    })
    const problems = describeDiagnostics(ts.getPreEmitDiagnostics(program))
    if (problems.length > 0) throw new Error(`${name}: does not compile\n${problems.join('\n')}`)
    const { outputText } = ts.transpileModule(readFileSync(source, 'utf8'), {
      compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext },
    })
    const outputs = cells.map(() => '')
    let current = 0
    const print = (...values) => {
      outputs[current] += `${formatWithOptions({ colors: false, compact: 3 }, ...values.map(onOneLine))}\n`
    }
    const url = pathToFileURL(`${stem}.mjs`).href
    globalThis.__notebook = { cell: (cell) => (current = cell), console: { log: print } }
    writeFileSync(`${stem}.mjs`, `const { cell: __cell, console } = globalThis.__notebook\n${outputText}`)
    try {
      await import(url)
    } catch (error) {
      throw new Error(`${name}: cell ${current + 1} fails: ${error.message}\n${cells[current]}`)
    }
    return outputs
  } finally {
    rmSync(source, { force: true })
    rmSync(`${stem}.mjs`, { force: true })
  }
}

/** Lists on one line: Node puts those of more than six elements in columns. */
function onOneLine(value) {
  return Array.isArray(value) ? JSON.stringify(value).replaceAll(',', ', ') : value
}

/** The page at a path with fresh outputs. */
export async function runNotebook(path) {
  const page = readFileSync(path, 'utf8')
  return withOutputs(page, await runCells(relative(ROOT, path), cellsOf(page)))
}

if (process.argv[1] === import.meta.filename) {
  const [path, ...flags] = process.argv.slice(2)
  if (path === undefined || flags.some((flag) => flag !== '--write')) {
    console.error('Usage: node scripts/notebook.mjs PAGE.md [--write]')
    process.exit(1)
  }
  try {
    const page = await runNotebook(path)
    if (flags.includes('--write')) writeFileSync(path, page)
    else process.stdout.write(page)
  } catch (error) {
    console.error(error.message)
    process.exit(1)
  }
}
