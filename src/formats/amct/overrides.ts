/** Which settings of a simplified configuration hold for which layer: layer before type before all. */
import { refuseAt, type TextSource } from '../source.ts'
import { TYPE_NAMES } from './layer-types.ts'
import type { AmctLayer, AmctLayers } from './layers.ts'

/** Where the settings of a layer come from. */
export type Origin = 'layer' | 'type' | 'common'

/** Refuses a name that a list has twice. */
function refuseRepeated(names: readonly string[], source: TextSource, list: object, field: string): void {
  for (const [index, name] of names.entries())
    if (names.indexOf(name) !== index) refuseAt(source, list, index, `'${field}' names '${name}' twice. Keep one.`)
}

/**
 * The layers that a list of names stands for.
 *
 * @throws WhittleError `INVALID_FILE` with the place of a name that is there twice or that no layer has.
 */
export function namedLayers(
  names: readonly string[],
  layers: AmctLayers,
  source: TextSource,
  field: string,
): Set<AmctLayer> {
  refuseRepeated(names, source, names, field)
  const found = new Set<AmctLayer>()
  for (const [index, name] of names.entries()) {
    const layer = layers.find(name)
    if (layer === undefined)
      return refuseAt(source, names, index, `${field}: layer '${name}' does not exist in the model.`)
    found.add(layer)
  }
  return found
}

/** Checks a list of layer types. @throws WhittleError `INVALID_FILE` with the place of one that is unknown or repeated. */
export function checkTypes(types: readonly string[], source: TextSource, field: string): void {
  refuseRepeated(types, source, types, field)
  for (const [index, type] of types.entries())
    if (!TYPE_NAMES.includes(type))
      refuseAt(
        source,
        types,
        index,
        `${field}: layer type '${type}' cannot be quantized. Types are ${TYPE_NAMES.join(', ')}.`,
      )
}

/** Settings for single layers and for types of layers, ready to be asked. */
export interface Overrides<T> {
  /** The entry that holds for a layer, and where it comes from; `undefined` when only the common settings do. */
  of(layer: AmctLayer): { readonly origin: Origin; readonly entry: T } | undefined
}

/**
 * Reads both lists of overrides.
 *
 * @throws WhittleError `INVALID_FILE` with the place of a layer or type that is unknown or overridden twice.
 */
export function findOverrides<L extends { readonly layer_name: string }, T extends { readonly layer_type: string }>(
  byLayer: readonly L[],
  byType: readonly T[],
  layers: AmctLayers,
  source: TextSource,
): Overrides<L | T> {
  const ofLayer = new Map<AmctLayer, L>()
  for (const entry of byLayer) {
    const layer = layers.find(entry.layer_name)
    if (layer === undefined)
      return refuseAt(source, entry, 'layer_name', `layer '${entry.layer_name}' does not exist in the model.`)
    if (layer.facts === undefined)
      refuseAt(
        source,
        entry,
        'layer_name',
        `layer '${entry.layer_name}' is a ${layer.type}, which cannot be quantized.`,
      )
    if (ofLayer.has(layer))
      refuseAt(source, entry, 'layer_name', `'override_layer_configs' has layer '${entry.layer_name}' twice. Keep one.`)
    ofLayer.set(layer, entry)
  }
  const ofType = new Map<string, T>()
  for (const entry of byType) {
    const type = entry.layer_type
    if (!TYPE_NAMES.includes(type))
      refuseAt(
        source,
        entry,
        'layer_type',
        `layer type '${type}' cannot be quantized. Types are ${TYPE_NAMES.join(', ')}.`,
      )
    if (ofType.has(type))
      refuseAt(source, entry, 'layer_type', `'override_layer_types' has type '${type}' twice. Keep one.`)
    ofType.set(type, entry)
  }
  return {
    of(layer) {
      const own = ofLayer.get(layer)
      if (own) return { origin: 'layer', entry: own }
      const type = layer.types.find((each) => ofType.has(each))
      return type === undefined ? undefined : { origin: 'type', entry: ofType.get(type)! }
    },
  }
}
