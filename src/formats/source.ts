/**
 * Where things stand in a text file, so that errors about values name the line they were read from.
 *
 * Readers note a place for every key and every list element of the plain objects that they make. Checks that come
 * later, against a model, find the place again through the object; values made by code have none.
 */
import { fail } from '../core/index.ts'

/** A place in a text; both numbers count from 1, columns in UTF-16 units. */
export interface Place {
  readonly line: number
  readonly column: number
}

/** A text file that was read, with the places of what was in it. */
export interface TextSource {
  /** Name for messages. */
  readonly fileName: string
  /** Places by container (an object, map or list that the reader made) and key or index. */
  readonly places: WeakMap<object, ReadonlyMap<string | number, Place>>
}

/** Key of the place where a container itself starts. */
export const SELF = -1

/** Longest text that is read, in UTF-16 units; a record of a million channels has about 60 million. */
export const MAX_TEXT_LENGTH = 2 ** 27

/**
 * A source without places yet.
 *
 * @throws WhittleError `INVALID_FILE` when the text is longer than {@link MAX_TEXT_LENGTH}.
 */
export function createSource(text: string, fileName: string): TextSource {
  if (text.length > MAX_TEXT_LENGTH)
    fail('INVALID_FILE', `${fileName}: a configuration has at most ${MAX_TEXT_LENGTH} characters; got ${text.length}.`)
  return { fileName, places: new WeakMap() }
}

/**
 * `FILE:LINE:COLUMN` of a key in a container that was read; of the container when it has no such key; `FILE` alone when
 * no place is known.
 */
export function placeOf(source: TextSource, container: object, key: string | number): string {
  const places = source.places.get(container)
  return describePlace(source.fileName, places?.get(key) ?? places?.get(SELF))
}

/** `FILE:LINE:COLUMN`, or `FILE` alone without a place. */
export function describePlace(fileName: string, place: Place | undefined): string {
  return place === undefined ? fileName : `${fileName}:${place.line}:${place.column}`
}

/** Throws `INVALID_FILE` with the place of a key in a container that was read. */
export function refuseAt(source: TextSource, container: object, key: string | number, message: string): never {
  return fail('INVALID_FILE', `${placeOf(source, container, key)}: ${message}`)
}

/** A source of values that code made. @param what what messages call it, for example `AMCT configuration`. */
export function codeSource(what: string): TextSource {
  return { fileName: what, places: new WeakMap() }
}
