/**
 * Formats of weights by the names that users of transformers.js know, with its file suffixes.
 * Source: transformers.js, `DATA_TYPES` and `DEFAULT_DTYPE_SUFFIX_MAPPING` (version 3).
 */
import { fail } from '../../../core/index.ts'

/** What {@link DTYPE_FACTS} says of a format. */
export interface WeightFormatFacts {
  /** Between a file's name and `.onnx`. */
  readonly suffix: string
  /** One line for people. */
  readonly about: string
}

/** Formats of weights; none needs data. */
export const DTYPE_FACTS = {
  fp32: { suffix: '', about: 'as it is' },
  fp16: { suffix: '_fp16', about: '16-bit floats, float32 where they would overflow' },
  q8: { suffix: '_quantized', about: '8-bit weights, activations quantized while running; int8' },
  int8: { suffix: '_int8', about: 'as q8, with signed weights' },
  uint8: { suffix: '_uint8', about: 'as q8, with unsigned weights' },
  q4: { suffix: '_q4', about: '4-bit weights in blocks' },
  q4f16: { suffix: '_q4f16', about: '4-bit weights in blocks, 16-bit floats elsewhere' },
  bnb4: { suffix: '_bnb4', about: '4-bit floating-point codes of bitsandbytes (NF4)' },
} as const satisfies Record<string, WeightFormatFacts>

/** A format of weights. */
export type WeightFormat = keyof typeof DTYPE_FACTS

/** All formats, in the order of {@link DTYPE_FACTS}. */
export const WEIGHT_FORMATS = Object.keys(DTYPE_FACTS) as readonly WeightFormat[]

/**
 * The formats a text like `fp16,q8,q4` names.
 *
 * @throws WhittleError `INVALID_ARGUMENT` for unknown, repeated or no names.
 */
export function parseWeightFormats(text: string): WeightFormat[] {
  const formats: WeightFormat[] = []
  for (const word of text.split(',')) {
    const name = word.trim()
    const found = WEIGHT_FORMATS.find((format) => format === name)
    if (!found) fail('INVALID_ARGUMENT', `Weight format '${name}': must be one of ${WEIGHT_FORMATS.join(', ')}.`)
    if (formats.includes(found)) fail('INVALID_ARGUMENT', `Weight format '${name}': is named twice.`)
    formats.push(found)
  }
  return formats
}

/**
 * The name of a model's file in a format: `model.onnx` → `model_q4f16.onnx`.
 *
 * @param file name with or without folders, ending in `.onnx` or not.
 */
export function weightFormatFile(file: string, format: WeightFormat): string {
  return `${file.replace(/\.onnx$/i, '')}${DTYPE_FACTS[format].suffix}.onnx`
}
