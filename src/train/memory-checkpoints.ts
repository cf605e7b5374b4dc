/** Checkpoints without a file system. */
import type { CheckpointStore } from './checkpoint.ts'

/**
 * A store that keeps the last checkpoint in memory: to cancel a training and go on with it in the same process or page.
 *
 * @param name what messages call it; default `memory`.
 * @example
 * const checkpoints = memoryCheckpoints()
 * await finetune(model, { ...options, signal: controller.signal }, { evaluator, checkpoints }).catch(() => undefined)
 * const { model: tuned } = await finetune(model, { ...options, resume: true }, { evaluator, checkpoints })
 */
export function memoryCheckpoints(name = 'memory'): CheckpointStore {
  let last: Uint8Array | undefined
  return {
    where: name,
    async read() {
      return last
    },
    async write(chunks) {
      const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0))
      let at = 0
      for (const chunk of chunks) {
        bytes.set(chunk, at)
        at += chunk.byteLength
      }
      last = bytes
    },
  }
}
