/** Kernels of convolutions that steps hand on with their axes in the order in which the convolutions read them. */
import type { Node } from '../../graph/index.ts'
import type { StoredOrder } from '../stored.ts'
import type { DeferredGradient } from './deferred-rules.ts'
import { readersOf } from './readers.ts'

/** `[K, C, h, w]` as `[K, h·w, C]`: what blocked convolutions and weight gradients by a convolution read and write. */
export function tapsSecond([out, into, ...kernel]: readonly number[]): StoredOrder {
  const taps = kernel.reduce((size, extent) => size * extent, 1)
  return { parts: [out!, into!, taps], order: [0, 2, 1] }
}

/** `[K, C, h, w]` as `[h·w, C, K]`. */
export function tapsFirst([out, into, ...kernel]: readonly number[]): StoredOrder {
  const taps = kernel.reduce((size, extent) => size * extent, 1)
  return { parts: [out!, into!, taps], order: [2, 1, 0] }
}

/**
 * The one convolution of each parameter that only a convolution and its gradient read, and whose gradient is read by
 * nothing.
 *
 * @param nodes of the graph. @param deferred gradients by first output. @param parameters gradient values by parameter.
 */
export function ownConvolutions(
  nodes: readonly Node[],
  deferred: (node: Node) => DeferredGradient | undefined,
  parameters: ReadonlyMap<string, string>,
): ReadonlyMap<string, Node> {
  const readers = readersOf(nodes)
  const own = new Map<string, Node>()
  for (const [name, gradient] of parameters) {
    const [forward, backward, ...more] = readers.get(name) ?? []
    if (!forward || !backward || more.length > 0 || readers.has(gradient)) continue
    const rule = deferred(backward)
    if (forward.opType !== 'Conv' || forward.domain !== '' || forward.inputs.indexOf(name) !== 1 || !rule) continue
    if (rule.node.outputs[0] !== forward.outputs[0] || rule.results[1] !== gradient) continue
    own.set(name, forward)
  }
  return own
}
