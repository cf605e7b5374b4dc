/** What a model says about its inputs. */
import { WhittleError } from '../../core/index.ts'
import { resolvePreprocess } from '../../data/index.ts'
import type { Model } from '../../graph/index.ts'

/** Whether the model's metadata hold a preprocessing. */
export function resolvesFromModel(model: Model): boolean {
  try {
    return resolvePreprocess(model).from === 'model'
  } catch (error) {
    if (error instanceof WhittleError) return false
    throw error
  }
}

/** The range of the first input that the preprocessing in the model's metadata maps 0 … 255 to. */
export function declaredRanges(model: Model): Map<string, { min: number; max: number }> {
  const [input] = model.graph.inputs.filter(({ name }) => !model.graph.initializers.has(name))
  if (!input || !resolvesFromModel(model)) return new Map()
  const { scale, mean, std } = resolvePreprocess(model).preprocess
  const channels = Math.max(mean.length, std.length, 1)
  const ends = Array.from({ length: channels }, (_, c) => {
    const [shift, divisor] = [mean[mean.length > 1 ? c : 0] ?? 0, std[std.length > 1 ? c : 0] ?? 1]
    return [(0 - shift) / divisor, (255 * scale - shift) / divisor]
  }).flat()
  return new Map([[input.name, { min: Math.min(...ends), max: Math.max(...ends) }]])
}
