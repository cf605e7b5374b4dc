/** Names from files in messages: a file must not write control sequences to a terminal, nor fill it. */

const MAX_CHARACTERS = 200

/** The name with control characters as `\u{…}`, cut off when it is long. */
export function printable(name: string): string {
  const shown = name.length > MAX_CHARACTERS ? `${name.slice(0, MAX_CHARACTERS)}…` : name
  // Control characters, line separators, and marks that change the direction of text.
  return shown.replaceAll(
    /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  )
}
