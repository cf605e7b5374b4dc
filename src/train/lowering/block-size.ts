/** How the runtime blocks channels, found by asking it: it depends on the processor and is written nowhere. */
import { type Evaluator, GraphBuilder } from '../../graph/index.ts'
import { Tensor, toFloat32 } from '../../tensor/index.ts'
import { BLOCKED_DOMAIN } from './layouts.ts'

const CHANNELS = 32

const known = new WeakMap<Evaluator, Promise<number | undefined>>()

/**
 * Channels per block of ONNX Runtime's blocked operators on this processor: 16, 8 or 4.
 *
 * @returns `undefined` where the runtime has no such operators, as in browsers.
 */
export function blockSize(evaluator: Evaluator): Promise<number | undefined> {
  let size = known.get(evaluator)
  if (!size) {
    size = measure(evaluator)
    known.set(evaluator, size)
  }
  return size
}

async function measure(evaluator: Evaluator): Promise<number | undefined> {
  const b = new GraphBuilder('block-size')
  const x = b.input('x', 'float32', [1, CHANNELS, 1, 2])
  // A second operator, so that the reordered memory comes out as it is.
  const blocked = b.op(`${BLOCKED_DOMAIN}::ReorderInput`, [x])
  b.output(b.op('Identity', [blocked], {}, 'y'), 'float32')
  const model = b.model(18)
  model.opsets.set(BLOCKED_DOMAIN, 1)
  try {
    const executable = await evaluator.load(model, { optimization: 'basic' })
    try {
      const numbers = Tensor.of(
        Float32Array.from({ length: 2 * CHANNELS }, (_, at) => at),
        [1, CHANNELS, 1, 2],
      )
      // Element 1 is the second column of channel 0; a block of channels stands before it.
      const at = toFloat32((await executable.run({ x: numbers })).y!).indexOf(1)
      return [16, 8, 4].includes(at) ? at : undefined
    } finally {
      await executable.release()
    }
  } catch {
    return undefined
  }
}
