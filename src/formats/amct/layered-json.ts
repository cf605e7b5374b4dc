/** JSON files that hold settings for all and layers by name side by side, as both of AMCT's configurations do. */
import { checkObject, type JsonFields, type JsonObjectOf, readObject } from '../json/fields.ts'
import { printBlock, printMembers, printObject } from '../json/print-json.ts'
import { type JsonValue, readJson } from '../json/read-json.ts'
import { refuseAt, type TextSource } from '../source.ts'

/** A configuration that was read, and the places of what is in it. */
export interface ReadConfig<T> {
  readonly config: T
  readonly source: TextSource
}

type Layered<G extends JsonFields, L extends JsonFields> = JsonObjectOf<G> & {
  readonly layers: ReadonlyMap<string, JsonObjectOf<L>>
}

/**
 * Reads such a file: keys that are no setting and hold an object are layers.
 *
 * @throws WhittleError `INVALID_FILE` with the place of what is wrong.
 */
export function readLayered<const G extends JsonFields, const L extends JsonFields>(
  text: string,
  fileName: string,
  globals: G,
  layerFields: L,
): ReadConfig<Layered<G, L>> {
  const { value, source } = readJson(text, fileName)
  if (!(value instanceof Map)) return refuseAt(source, source, 0, 'a configuration must be a JSON object.')
  const settings = new Map<string, JsonValue>()
  const layers = new Map<string, JsonObjectOf<L>>()
  const places = source.places.get(value) ?? new Map()
  for (const [key, each] of value) {
    if (Object.hasOwn(globals, key)) settings.set(key, each)
    else if (each instanceof Map) layers.set(key, readObject(layerFields, each, source, `layer '${key}'`))
    else refuseAt(source, value, key, `'${key}' is an invalid layer name or parameter.`)
  }
  source.places.set(settings, places)
  source.places.set(layers, places)
  const config = { ...readObject(globals, settings, source, 'the configuration'), layers }
  source.places.set(config, places)
  return { config, source }
}

/**
 * Writes such a file in the layout of Python's `json.dump(…, indent=4, separators=(',', ':'))`, layers in their order.
 *
 * @throws WhittleError `INVALID_FILE` when a value is out of range or an unknown key is there.
 */
export function printLayered(
  config: object & { readonly layers: ReadonlyMap<string, object> },
  globals: JsonFields,
  layerFields: JsonFields,
): string {
  const { layers, ...settings } = config
  checkObject(globals, settings, 'the configuration')
  const members = printMembers(globals, settings, '')
  for (const [name, layer] of layers) {
    if (Object.hasOwn(globals, name))
      checkObject({}, { [name]: true }, `the layers: '${name}' is a setting's name, not a layer's`)
    checkObject(layerFields, layer, `layer '${name}'`)
    members.push(`${JSON.stringify(name)}:${printObject(layerFields, layer, '    ')}`)
  }
  return printBlock(members)
}
