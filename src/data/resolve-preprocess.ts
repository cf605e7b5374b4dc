/** Which preprocessing a model gets: the one asked for, else the one it carries, else none. */
import { fail, messageOf } from '../core/index.ts'
import type { Model } from '../graph/index.ts'
import { modelInputs, pictureExtentOf } from './feeds.ts'
import { fitPictures, PREPROCESS_KEY, type Preprocess, type PresetName, preset } from './preprocess.ts'
import { parsePreprocess } from './preprocess-json.ts'

/** A preprocessing and where it came from. */
export interface PreprocessChoice {
  readonly preprocess: Preprocess
  /** `option`: the caller's; `model`: the model's metadata; `default`: values 0 … 255 as they are. */
  readonly from: 'option' | 'model' | 'default'
}

/**
 * Decides how samples become inputs of a model.
 *
 * @param choice a preset's name or a preprocessing; absent: the JSON under `whittle.preprocess` in the model's metadata,
 *   else `none`. Pictures of other sizes are fitted to the model's size where the choice says nothing of size.
 * @throws WhittleError `INVALID_DATA` or `UNSUPPORTED` for a wrong preset or wrong JSON in the metadata.
 */
export function resolvePreprocess(model: Model, choice?: PresetName | Preprocess): PreprocessChoice {
  const extent = pictureExtentOf(modelInputs(model))
  if (typeof choice === 'string') return { preprocess: parsePreprocess(choice, extent) as Preprocess, from: 'option' }
  if (choice) {
    const geometry = choice.geometry ?? (extent && fitPictures(extent))
    return { preprocess: { ...choice, ...(geometry && { geometry }) }, from: 'option' }
  }
  const text = model.metadata.get(PREPROCESS_KEY)
  if (text === undefined) return { preprocess: preset('none', extent), from: 'default' }
  return { preprocess: parsePreprocess(parseMetadata(text), extent), from: 'model' }
}

function parseMetadata(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    return fail(
      'INVALID_DATA',
      `The model's metadata '${PREPROCESS_KEY}' must be JSON (${messageOf(error)}). Give --preprocess to override it.`,
      { cause: error },
    )
  }
}
