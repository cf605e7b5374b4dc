/** AMCT's record of quantization factors: `record.txt`, text protobuf. */
import { codeSource, refuseAt, type TextSource } from '../source.ts'
import { shortestFloat32 } from '../text/float32.ts'
import { type ParseTextOptions, parseText } from '../text/parse.ts'
import { printText } from '../text/print.ts'
import type { ReadConfig } from './layered-json.ts'
import { type AmctLayerRecord, type AmctRecord, RECORD } from './record-schema.ts'

/** Scales lie between this and its reciprocal: the epsilon of float32 (AMCT's FAQ). */
export const LEAST_SCALE = 2 ** -23

/** Integer types that records name, and their offsets' range. */
const OFFSETS: Readonly<Record<string, readonly [number, number]>> = {
  INT4: [-8, 7],
  INT8: [-128, 127],
  INT16: [-32768, 32767],
}

/** Integer types of weights that records name. */
const WEIGHT_TYPES = ['INT4', 'INT6', 'INT7', 'INT8']

function checkScale(scale: number, source: TextSource, holder: object, key: string | number, what: string): void {
  if (!(scale >= LEAST_SCALE && scale <= 1 / LEAST_SCALE))
    refuseAt(source, holder, key, `${what} must be from 2⁻²³ to 2²³; got ${shortestFloat32(scale)}.`)
}

function checkLayer(layer: AmctLayerRecord, source: TextSource, name: string): void {
  const refuse = (holder: object, key: string | number, message: string): never =>
    refuseAt(source, holder, key, `layer '${name}': ${message}`)
  if (layer.scale_d !== undefined) checkScale(layer.scale_d, source, layer, 'scale_d', `layer '${name}': scale_d`)
  for (const [index, scale] of layer.scale_w.entries())
    checkScale(scale, source, layer.scale_w, index, `layer '${name}': scale_w`)
  if (layer.scale_w.length !== layer.offset_w.length)
    refuse(
      layer,
      'offset_w',
      `scale_w and offset_w must be as many; got ${layer.scale_w.length} and ${layer.offset_w.length}.`,
    )
  const nonZero = layer.offset_w.findIndex((offset) => offset !== 0)
  if (nonZero >= 0) refuse(layer.offset_w, nonZero, `offset_w must be 0; got ${layer.offset_w[nonZero]}.`)
  const type = layer.act_type ?? layer.dst_type ?? 'INT8'
  const range = Object.hasOwn(OFFSETS, type) ? OFFSETS[type] : undefined
  if (range === undefined)
    throw refuse(
      layer,
      layer.act_type ? 'act_type' : 'dst_type',
      `the type of activations must be one of INT4, INT8, INT16; got '${type}'.`,
    )
  const offset = layer.offset_d ?? 0
  if (offset < range[0] || offset > range[1])
    refuse(layer, 'offset_d', `offset_d of type ${type} must be from ${range[0]} to ${range[1]}; got ${offset}.`)
  const weights = layer.wts_type ?? 'INT8'
  if (!WEIGHT_TYPES.includes(weights))
    refuse(layer, 'wts_type', `wts_type must be one of ${WEIGHT_TYPES.join(', ')}; got '${weights}'.`)
  for (const [index, factor] of layer.tensor_balance_factor.entries())
    checkScale(factor, source, layer.tensor_balance_factor, index, `layer '${name}': tensor_balance_factor`)
}

/**
 * Checks a record as AMCT's own reader does: ranges of scales and offsets, as many offsets as scales, layers once.
 *
 * @param source places, as the reader gave them; default none.
 * @throws WhittleError `INVALID_FILE` with the place of what is wrong.
 */
export function checkAmctRecord(record: AmctRecord, source: TextSource = codeSource('AMCT record')): void {
  const seen = new Set<string>()
  for (const [index, entry] of record.record.entries()) {
    const name = entry.key
    if (name === undefined) throw refuseAt(source, record.record, index, "a 'record' needs a 'key', the layer's name.")
    if (seen.has(name)) refuseAt(source, entry, 'key', `layer '${name}' has two records. Keep one.`)
    seen.add(name)
    if (entry.value) checkLayer(entry.value, source, name)
  }
}

/**
 * Reads a record of quantization factors.
 *
 * Floats come exact in float32; what is absent stays absent.
 *
 * @param fileName name for messages.
 * @throws WhittleError `INVALID_FILE` with `FILE:LINE:COLUMN`.
 */
export function readAmctRecord(text: string, fileName: string, options?: ParseTextOptions): ReadConfig<AmctRecord> {
  const { message, source } = parseText(text, RECORD, fileName, options)
  checkAmctRecord(message, source)
  return { config: message, source }
}

/**
 * Writes a record; reading it back gives equal values, floats to the last bit.
 *
 * @throws WhittleError `INVALID_FILE` for what AMCT's reader would refuse.
 */
export function writeAmctRecord(record: AmctRecord): string {
  checkAmctRecord(record)
  return printText(RECORD, record)
}
