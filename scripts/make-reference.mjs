// Makes docs/reference/ from the docstrings of whittle-nn/tensor and whittle-nn/decompose: a page per group of functions
// with signatures, shapes, sources, and examples that were run.
//   node scripts/make-reference.mjs            writes the pages
//   node scripts/make-reference.mjs --check    says where the pages are not what the sources make
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import ts from 'typescript'
import { readProject } from './build.mjs'
import { cellsOf, runCells, withOutputs } from './notebook.mjs'

const ROOT = join(import.meta.dirname, '..')
const PAGES = join(ROOT, 'docs', 'reference')
const DOORS = { 'whittle-nn/tensor': 'src/tensor/index.ts', 'whittle-nn/decompose': 'src/decompose/index.ts' }

/** Which source files make which page; every function of the doors is on one of them. */
const GROUPS = [
  {
    page: 'tensors',
    title: 'Making and showing tensors',
    files: ['tensor/tensor', 'tensor/nested', 'tensor/random-tensors', 'tensor/dtype', 'tensor/half'],
  },
  {
    page: 'unfolding',
    title: 'Unfolding, folding and moving modes',
    files: ['tensor/unfolding', 'tensor/partial-unfolding', 'tensor/permute'],
  },
  {
    page: 'products',
    title: 'Products and norms',
    files: [
      'tensor/mode-dot',
      'tensor/khatri-rao',
      'tensor/outer',
      'tensor/contract',
      'tensor/mttkrp',
      'tensor/norm',
      'tensor/norm-along',
    ],
  },
  {
    page: 'factor-formats',
    title: 'Factor formats',
    files: [
      'tensor/cp-*',
      'tensor/tucker-*',
      'tensor/tt-tensor',
      'tensor/tt-matrix',
      'tensor/factored-matrix',
      'tensor/rank-rules',
    ],
  },
  { page: 'cp', title: 'CP decompositions', files: ['decompose/cp/*'] },
  { page: 'tucker', title: 'Tucker decompositions', files: ['decompose/tucker/*', 'decompose/tucker2'] },
  { page: 'tensor-train', title: 'Tensor trains', files: ['decompose/tensor-train*', 'decompose/tt-*'] },
  {
    page: 'matrices',
    title: 'Matrices: eigenvalues, singular values, equations',
    files: [
      'decompose/symmetric-eigen',
      'decompose/svd',
      'decompose/*-svd',
      'decompose/svd-*',
      'decompose/low-rank',
      'decompose/range-finder',
      'decompose/leading-subspace',
      'decompose/gram',
      'decompose/qr',
      'decompose/cholesky',
      'decompose/least-squares',
      'decompose/nnls',
      'decompose/robust-pca',
      'decompose/minimize-bounded',
    ],
  },
  {
    page: 'ranks',
    title: 'Choosing ranks',
    files: [
      'decompose/evbmf',
      'decompose/vbmf',
      'decompose/*vbmf*',
      'decompose/amct-*',
      'decompose/rank-policies',
      'decompose/spectrum-estimate',
    ],
  },
  {
    page: 'engine',
    title: 'The matrix engine',
    files: [
      'decompose/matrix',
      'decompose/plain-matrix-engine',
      'decompose/product-shape',
      'decompose/mode-product',
      'decompose/contraction*',
      'decompose/tensor-products',
    ],
  },
]

const matches = (pattern, file) => new RegExp(`^${pattern.replaceAll('*', '[^/]*')}$`).test(file)
const nameOf = (declaration) => relative(join(ROOT, 'src'), declaration.getSourceFile().fileName).replace(/\.ts$/, '')
const plain = (text) => text.replaceAll(/\{@link ([^}]+)\}/g, '`$1`').trim()

function readDoors() {
  const { options } = readProject('tsconfig.core.json')
  const paths = Object.values(DOORS).map((path) => join(ROOT, path))
  const program = ts.createProgram(paths, { ...options, noEmit: true })
  const checker = program.getTypeChecker()
  const found = []
  for (const [specifier, path] of Object.entries(DOORS)) {
    const module = checker.getSymbolAtLocation(program.getSourceFile(join(ROOT, path)))
    for (const exported of checker.getExportsOfModule(module)) {
      const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported
      const declaration = symbol.declarations[0]
      // Doors also serve other layers; what is only theirs is marked.
      if (symbol.getJsDocTags(checker).some(({ name }) => name === 'internal')) continue
      found.push({ name: exported.name, specifier, symbol, declaration, file: nameOf(declaration), checker })
    }
  }
  // Within a file as it is written there: what comes first is read first.
  return found.sort((a, b) => a.declaration.getStart() - b.declaration.getStart())
}

function tagsOf({ symbol, checker }) {
  const tags = new Map()
  for (const { name, text } of symbol.getJsDocTags(checker)) {
    const value = ts.displayPartsToString(text).trim()
    // Two parameters may share a line of the comment.
    for (const part of name === 'param' ? value.split(/\s@param /) : [value])
      tags.set(name, [...(tags.get(name) ?? []), part])
  }
  return tags
}

/** The declaration without its body, its comments kept where they are inside. */
function signatureOf(declaration) {
  const source = declaration.getSourceFile().text
  const end = declaration.body ? declaration.body.getStart() : declaration.getEnd()
  return source
    .slice(declaration.getStart(), end)
    .replace(/^export (async )?/, '')
    .trim()
}

/** Names of the doors that the code uses, as import lines; what it imports itself is left to it. */
function importsFor(code, exports) {
  const own = new Set([...code.matchAll(/^import .*$/gm)].flatMap(([line]) => line.match(/[A-Za-z_]\w*/g)))
  const words = new Set(code.match(/[A-Za-z_]\w*/g))
  const lines = Object.keys(DOORS).flatMap((specifier) => {
    const names = exports.filter((item) => item.specifier === specifier && words.has(item.name) && !own.has(item.name))
    const values = names.filter(({ symbol }) => symbol.flags & ts.SymbolFlags.Value).map(({ name }) => name)
    return values.length > 0 ? [`import { ${values.sort().join(', ')} } from '${specifier}'`] : []
  })
  return lines.length > 0 ? `${lines.join('\n')}\n${code.startsWith('import ') ? '' : '\n'}` : ''
}

function functionSection(item, exports) {
  const tags = tagsOf(item)
  const lines = [
    `## ${item.name}`,
    '',
    plain(ts.displayPartsToString(item.symbol.getDocumentationComment(item.checker))),
  ]
  lines.push('', '```typescript', signatureOf(item.declaration), '```')
  const parameters = (tags.get('param') ?? []).map((text) => {
    const [name, ...rest] = text.split(/\s+/)
    return `- \`${name}\`: ${plain(rest.join(' '))}`
  })
  if (parameters.length > 0) lines.push('', ...parameters)
  const rows = [
    ['Returns', 'returns'],
    ['Throws', 'throws'],
    ['Source', 'see'],
  ].flatMap(([label, tag]) =>
    (tags.get(tag) ?? []).map((text) => `**${label}** ${plain(text.replaceAll('\n', ' ').replaceAll(' ,', ','))}`),
  )
  for (const row of rows) lines.push('', row)
  for (const example of tags.get('example') ?? [])
    lines.push('', '```ts', `${importsFor(example, exports)}${example}`, '```')
  return `${lines.join('\n')}\n`
}

const isFunction = ({ symbol }) => (symbol.flags & ts.SymbolFlags.Function) !== 0
const isClass = ({ symbol }) => (symbol.flags & ts.SymbolFlags.Class) !== 0

function typesSection(items) {
  const types = items.filter((item) => !isFunction(item) && !isClass(item))
  if (types.length === 0) return ''
  const blocks = types.map(({ declaration, symbol, checker }) => {
    const comment = plain(ts.displayPartsToString(symbol.getDocumentationComment(checker)))
    const statement = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration
    return `${comment}\n\n\`\`\`typescript\n${signatureOf(statement)}\n\`\`\`\n`
  })
  return `## Types\n\n${blocks.join('\n')}`
}

/** The file comment of the first source file: what the group is about, and its sources. */
function introOf(items) {
  const files = [...new Set(items.map(({ declaration }) => declaration.getSourceFile()))]
  const comments = files.flatMap((file) => {
    const match = /^\/\*\*([\s\S]*?)\*\//.exec(file.text)
    // A comment right before a declaration is that one's.
    if (!match || !/^\s*(import|export \*|\n)/.test(file.text.slice(match[0].length))) return []
    const text = match[1]
      .split('\n')
      .map((line) => line.replace(/^\s*\* ?/, ''))
      .join('\n')
    return [plain(text)]
  })
  return comments.join('\n\n')
}

async function makePages() {
  const exports = readDoors()
  const problems = []
  const pages = new Map()
  const taken = new Set()
  for (const { page, title, files } of GROUPS) {
    const items = files.flatMap((pattern) =>
      exports.filter((item) => matches(pattern, item.file) && !taken.has(item) && taken.add(item)),
    )
    if (items.length === 0) continue
    for (const item of items)
      if (isFunction(item) && !tagsOf(item).has('example'))
        problems.push(`src/${item.file}.ts: '${item.name}' has no @example; the reference shows one for every function`)
    const sections = items.filter(isFunction).map((item) => functionSection(item, exports))
    const specifiers = [...new Set(items.map(({ specifier }) => `\`${specifier}\``))].join(', ')
    const head = `<!-- Made by scripts/make-reference.mjs from the docstrings; edit those. -->\n# ${title}\n\n${specifiers}\n\n${introOf(items)}\n`
    pages.set(page, [head, ...sections, typesSection(items)].filter((part) => part !== '').join('\n'))
  }
  for (const item of exports)
    if (!taken.has(item))
      problems.push(
        `src/${item.file}.ts: '${item.name}' is on no page; add the file to a group in scripts/make-reference.mjs`,
      )
  for (const [page, text] of pages) {
    try {
      const outputs = await runCells(`docs/reference/${page}.md`, cellsOf(text), { isolated: true })
      pages.set(page, withOutputs(text, outputs))
    } catch (error) {
      problems.push(error.message)
    }
  }
  const contents = GROUPS.filter(({ page }) => pages.has(page)).map(({ page, title }) => `- [${title}](${page}.md)`)
  pages.set(
    'README',
    `<!-- Made by scripts/make-reference.mjs. -->\n# Tensor algebra and decompositions: reference\n\n${contents.join('\n')}\n`,
  )
  return { pages, problems }
}

/** What keeps the pages from being what the sources make; with `write`, pages are written first. */
export async function makeReference({ write = false } = {}) {
  const { pages, problems } = await makePages()
  mkdirSync(PAGES, { recursive: true })
  for (const [page, text] of pages) {
    const path = join(PAGES, `${page}.md`)
    if (write) writeFileSync(path, text)
    else if (!existsSync(path) || readFileSync(path, 'utf8') !== text)
      problems.push(`docs/reference/${page}.md: is not what the sources make; run \`node scripts/make-reference.mjs\``)
  }
  for (const name of readdirSync(PAGES))
    if (!pages.has(basename(name, '.md')))
      problems.push(`docs/reference/${name}: is no page of the reference; remove it`)
  return problems
}

if (process.argv[1] === import.meta.filename) {
  const problems = await makeReference({ write: !process.argv.includes('--check') })
  for (const problem of problems) console.error(problem)
  process.exit(problems.length === 0 ? 0 : 1)
}
