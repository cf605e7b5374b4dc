// Every public export has a doc comment, and so has every property of public options types.
import { relative } from 'node:path'
import ts from 'typescript'
import { readProject } from './build.mjs'

/** @param doors paths of the `index.ts` files that package.json exports. @returns a sentence per missing comment. */
export function checkDocs(doors) {
  const { options } = readProject('tsconfig.node.json')
  const program = ts.createProgram(doors, { ...options, lib: ['lib.es2023.d.ts', 'lib.dom.d.ts'], noEmit: true })
  const checker = program.getTypeChecker()
  const problems = new Set()
  const place = (symbol) => {
    const declaration = symbol.declarations?.[0]
    if (!declaration) return symbol.name
    const source = declaration.getSourceFile()
    const { line } = source.getLineAndCharacterOfPosition(declaration.getStart())
    return `${relative(process.cwd(), source.fileName)}:${line + 1}`
  }
  const documented = (symbol) => ts.displayPartsToString(symbol.getDocumentationComment(checker)).trim() !== ''
  for (const door of doors) {
    const source = program.getSourceFile(door)
    const module = source && checker.getSymbolAtLocation(source)
    if (!module) {
      problems.add(`${relative(process.cwd(), door)}: is no module`)
      continue
    }
    for (const exported of checker.getExportsOfModule(module)) {
      const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported
      if (!documented(symbol) && !documented(exported))
        problems.add(`${place(symbol)}: '${exported.name}' has no doc comment`)
      if (!/Options$/.test(exported.name) || !(symbol.flags & (ts.SymbolFlags.Interface | ts.SymbolFlags.TypeAlias)))
        continue
      for (const property of checker.getDeclaredTypeOfSymbol(symbol).getProperties()) {
        if (property.declarations?.some((node) => node.getSourceFile().fileName.includes('node_modules'))) continue
        if (!documented(property))
          problems.add(`${place(property)}: option '${exported.name}.${property.name}' has no doc comment`)
      }
    }
  }
  return [...problems].sort()
}
