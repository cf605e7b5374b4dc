/** Makes initializers that are also listed as inputs constants; exporters before 2019 listed every weight there. */
import { cloneModel } from '../model.ts'
import type { Pass } from './pass.ts'

/**
 * Removes the inputs of the main graph that only give initializers another value, so that the initializers are
 * constants and weights can be told from data. Callers can no longer override them.
 */
export const freezeInitializers: Pass = {
  name: 'freeze-initializers',
  run: async (model) => {
    const clone = cloneModel(model)
    const { graph } = clone
    const before = graph.inputs.length
    graph.inputs = graph.inputs.filter(
      ({ name }) => !graph.initializers.has(name) && !graph.sparseInitializers.has(name),
    )
    const frozen = before - graph.inputs.length
    if (frozen === 0) return { model: clone, changes: [] }
    clone.irVersion = Math.max(clone.irVersion, 4)
    return {
      model: clone,
      changes: [`${frozen} initializer${frozen === 1 ? '' : 's'} removed from the inputs, so that they are constants.`],
    }
  },
}
