/** Text tables for terminals with a fixed character width. */

/** A column of a table. */
export interface Column {
  readonly title: string
  /** Default `'left'`; numbers read best to the right. */
  readonly align?: 'left' | 'right' | undefined
}

/**
 * Lays rows out under their titles, two blanks between columns and a line under the titles.
 *
 * @param columns a title, or a title with its alignment.
 * @param rows one text per column; the cell `'-'` alone in a row draws a line.
 * @returns lines without trailing blanks, joined by line feeds.
 */
export function formatTable(columns: readonly (Column | string)[], rows: readonly (readonly string[])[]): string {
  const specs = columns.map((column): Column => (typeof column === 'string' ? { title: column } : column))
  const isRule = (row: readonly string[]): boolean => row.length === 1 && row[0] === '-'
  const widths = specs.map(({ title }, i) =>
    Math.max(widthOf(title), ...rows.filter((row) => !isRule(row)).map((row) => widthOf(row[i] ?? ''))),
  )
  const rule = widths.map((width) => '─'.repeat(width)).join('──')
  const line = (cells: readonly string[]): string =>
    specs
      .map(({ align }, i) => {
        const cell = cells[i] ?? ''
        const blanks = ' '.repeat(widths[i]! - widthOf(cell))
        return align === 'right' ? blanks + cell : cell + blanks
      })
      .join('  ')
      .trimEnd()
  return [line(specs.map(({ title }) => title)), rule, ...rows.map((row) => (isRule(row) ? rule : line(row)))].join(
    '\n',
  )
}

/** Columns a text takes: combining marks none, East Asian wide characters two. */
function widthOf(text: string): number {
  let width = 0
  for (const character of text) {
    if (/\p{Mark}/u.test(character)) continue
    width += /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/u.test(character) ? 2 : 1
  }
  return width
}
