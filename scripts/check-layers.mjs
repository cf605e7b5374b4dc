// Folders under src/ are layers. Fails when a module imports a layer its own may not see, reaches past another layer's
// door (`index.ts`), imports a package its layer may not have, or when modules import each other in a circle.
// The table is layers.json. Types count for direction; only values count for circles. Tests are free.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const TABLE = JSON.parse(readFileSync(new URL('./layers.json', import.meta.url), 'utf8'))

const layerOf = (module) => (module.includes('/') ? module.slice(0, module.indexOf('/')) : '.')

/** Every import of a module: `{ specifier, types, lazy }`. */
function importsOf(path) {
  const source = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true)
  const found = []
  const visit = (node) => {
    if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier) {
      const names = node.importClause?.namedBindings ?? node.exportClause
      const onlyTypes =
        node.isTypeOnly ||
        node.importClause?.isTypeOnly ||
        (!node.importClause?.name &&
          names?.elements?.length > 0 &&
          names.elements.every((element) => element.isTypeOnly))
      found.push({ specifier: node.moduleSpecifier.text, types: Boolean(onlyTypes), lazy: false })
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [argument] = node.arguments
      if (argument && ts.isStringLiteral(argument)) found.push({ specifier: argument.text, types: false, lazy: true })
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      found.push({ specifier: node.argument.literal.text, types: true, lazy: false })
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

function problemsOfImport(module, target, entry) {
  const [from, to] = [layerOf(module), layerOf(target)]
  if (from === to) return []
  const rule = TABLE[from]
  const problems = []
  const door = to === '.' ? 'index.ts' : `${to}/index.ts`
  if (target !== door) problems.push(`${module}: import '${to}' through its door '${door}', not '${target}'`)
  const typesAllowed = entry.types && rule.types?.includes(to)
  if (!rule.imports.includes(to) && !typesAllowed) {
    const allowed = [...rule.imports, ...(rule.types ?? []).map((name) => `types of ${name}`)]
    problems.push(`${module}: '${from}' may not import '${to}' (allowed: ${allowed.join(', ') || 'nothing'})`)
  }
  return problems
}

function cycles(graph) {
  const problems = []
  const state = new Map()
  const visit = (module, path) => {
    if (state.get(module) === 'done') return
    if (state.get(module) === 'open') {
      problems.push(`cycle: ${[...path.slice(path.indexOf(module)), module].join(' → ')}`)
      return
    }
    state.set(module, 'open')
    for (const next of graph.get(module) ?? []) visit(next, [...path, module])
    state.set(module, 'done')
  }
  for (const module of graph.keys()) visit(module, [])
  return problems
}

/** @returns the number of modules under `root` and a sentence per problem. */
export function checkLayers(root) {
  const modules = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /(?<!\.test|\.d)\.ts$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !/\.(browser|slow)\.ts$/.test(path))
  const idOf = (path) => relative(root, path).split(sep).join('/')
  const problems = []
  const graph = new Map()
  for (const path of modules) {
    const module = idOf(path)
    const from = layerOf(module)
    const rule = TABLE[from]
    if (!rule) {
      problems.push(`${module}: folder '${from}' is not in layers.json`)
      continue
    }
    const edges = []
    for (const entry of importsOf(path)) {
      if (!entry.specifier.startsWith('.')) {
        const allowed = (rule.packages ?? []).some((name) =>
          name.endsWith(':')
            ? entry.specifier.startsWith(name)
            : entry.specifier === name || entry.specifier.startsWith(`${name}/`),
        )
        if (!allowed) problems.push(`${module}: '${from}' may not import package '${entry.specifier}'`)
        continue
      }
      const target = idOf(resolve(dirname(path), entry.specifier))
      if (!entry.types && !entry.lazy) edges.push(target)
      problems.push(...problemsOfImport(module, target, entry))
    }
    graph.set(module, edges)
  }
  return { modules: modules.length, problems: [...problems, ...cycles(graph)] }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { modules, problems } = checkLayers(resolve(process.argv[2] ?? 'src'))
  for (const problem of problems) console.error(problem)
  console.log(`${modules} modules, ${problems.length} problems`)
  process.exitCode = problems.length > 0 ? 1 : 0
}
