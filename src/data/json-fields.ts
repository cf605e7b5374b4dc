/** Typed access to the fields of foreign JSON, with errors that name the field. */
import { fail } from '../core/index.ts'
import type { Extent } from './geometry.ts'

/** A JSON object. */
export type Fields = Readonly<Record<string, unknown>>

/** Pictures larger than this in one direction are a mistake in the file. */
const MAX_EXTENT = 16384

function refuse(key: string, rule: string, value: unknown): never {
  return fail(
    'INVALID_DATA',
    `Preprocessing field '${key}' must be ${rule}; got ${JSON.stringify(value) ?? 'nothing'}.`,
  )
}

/** A JSON object, or an `INVALID_DATA` error. */
export function asFields(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    fail('INVALID_DATA', `${what} must be a JSON object; got ${JSON.stringify(value)?.slice(0, 40) ?? 'nothing'}.`)
  return value as Fields
}

/** A boolean; `undefined` when absent or null. */
export function maybeBoolean(fields: Fields, key: string): boolean | undefined {
  const value = fields[key]
  if (value === undefined || value === null) return undefined
  return typeof value === 'boolean' ? value : refuse(key, 'true or false', value)
}

/** A finite number; `undefined` when absent or null. */
export function maybeNumber(fields: Fields, key: string): number | undefined {
  const value = fields[key]
  if (value === undefined || value === null) return undefined
  return typeof value === 'number' && Number.isFinite(value) ? value : refuse(key, 'a number', value)
}

/** A list of finite numbers, of a number or a list; `undefined` when absent, null or empty. */
export function maybeNumbers(fields: Fields, key: string): number[] | undefined {
  const value = fields[key]
  if (value === undefined || value === null) return undefined
  const list: unknown[] = Array.isArray(value) ? value : [value]
  if (list.length === 0) return undefined
  const isNumbers = list.every((item): item is number => typeof item === 'number' && Number.isFinite(item))
  return isNumbers ? (list as number[]) : refuse(key, 'a number or a list of numbers', value)
}

/** A whole number of pixels, at least `least`; `undefined` when absent or null. */
export function maybePixels(fields: Fields, key: string, least = 1): number | undefined {
  const value = maybeNumber(fields, key)
  if (value === undefined) return undefined
  const isPixels = Number.isInteger(value) && value >= least && value <= MAX_EXTENT
  return isPixels ? value : refuse(key, `a whole number of pixels from ${least} to ${MAX_EXTENT}`, value)
}

/** A width and height, of `{width, height}` or of one number for a square; `undefined` when absent or null. */
export function maybeExtent(fields: Fields, key: string): Extent | undefined {
  const value = fields[key]
  if (value === undefined || value === null) return undefined
  if (typeof value === 'number') {
    const edge = maybePixels(fields, key)!
    return { width: edge, height: edge }
  }
  if (Array.isArray(value) && value.length === 2)
    return maybeExtent({ [key]: { height: value[0], width: value[1] } }, key)
  const inner = asFields(value, `Preprocessing field '${key}'`)
  const width = maybePixels(inner, 'width')
  const height = maybePixels(inner, 'height')
  if (width === undefined || height === undefined) return refuse(key, 'a number or {"width": …, "height": …}', value)
  return { width, height }
}

/** One of a few words; `undefined` when absent or null. */
export function maybeWord<Word extends string>(fields: Fields, key: string, words: readonly Word[]): Word | undefined {
  const value = fields[key]
  if (value === undefined || value === null) return undefined
  return words.find((word) => word === value) ?? refuse(key, `one of ${words.map((w) => `'${w}'`).join(', ')}`, value)
}
