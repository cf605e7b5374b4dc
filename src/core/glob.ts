/** Names by pattern, as the options that choose layers take them. */

/** Whether a name matches any of the patterns; `*` stands for any characters, `?` for one. */
export function matchesAny(name: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => {
    const source = pattern
      .replace(/[.+^${}()|[\]\\]/g, '\\$&')
      .replace(/\*/g, '.*')
      .replace(/\?/g, '.')
    return new RegExp(`^${source}$`, 's').test(name)
  })
}
