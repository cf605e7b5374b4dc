/** From opset 17 or 18 on to the one whose DequantizeLinear takes blocks and 4-bit integers. */
import { fail } from '../../core/index.ts'
import type { Model } from '../model.ts'
import { forEachNode } from '../traverse.ts'
import { liftOpset } from './canonical.ts'

/** First version of the standard operator set with 4-bit and 16-bit integers and blocks in DequantizeLinear. */
export const BLOCK_OPSET = 21

/** IR version that came with it. */
const BLOCK_IR_VERSION = 10

/** Operators whose meaning changed from opset 19 to 21, by the version that changed it. Source: docs/Changelog.md. */
const CHANGED: Readonly<Record<string, number>> = { DFT: 20, GridSample: 20, GroupNormalization: 21 }

/**
 * A clone of a model at opset 21, if it is of an earlier one; operators mean the same there but for three.
 *
 * @throws WhittleError `UNSUPPORTED` naming what cannot be lifted.
 */
export function liftToBlocks(model: Model): Model {
  const from = model.opsets.get('') ?? model.opsets.get('ai.onnx') ?? 1
  const lifted = liftOpset(model, 18)
  if ((lifted.opsets.get('') ?? 1) >= BLOCK_OPSET) return lifted
  if (lifted.functions.length > 0)
    fail(
      'UNSUPPORTED',
      `Model '${model.graph.name}': cannot be lifted to opset ${BLOCK_OPSET}: its functions import operator sets of their own.`,
    )
  forEachNode(lifted.graph, (node) => {
    const changed = node.domain === '' && Object.hasOwn(CHANGED, node.opType) ? CHANGED[node.opType]! : 0
    if (changed > Math.max(from, 18))
      fail(
        'UNSUPPORTED',
        `${node.opType} '${node.name}': means something else from opset ${changed} on, so that the model cannot be lifted to opset ${BLOCK_OPSET}.`,
      )
  })
  lifted.opsets.set('', BLOCK_OPSET)
  lifted.irVersion = Math.max(lifted.irVersion, BLOCK_IR_VERSION)
  return lifted
}
