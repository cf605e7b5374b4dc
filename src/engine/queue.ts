/**
 * One thing at a time per runtime: `onnxruntime-web` breaks when sessions are created or run concurrently, and on the
 * CPU concurrent runs only fight over the same threads.
 */

const tails = new WeakMap<object, Promise<void>>()

/**
 * Runs `task` after every task queued before it for the same runtime, whether those succeeded or not. A task must not
 * queue another and wait for it.
 */
export function runExclusively<T>(runtime: object, task: () => Promise<T>): Promise<T> {
  const result = (tails.get(runtime) ?? Promise.resolve()).then(task)
  tails.set(
    runtime,
    result.then(
      () => undefined,
      () => undefined,
    ),
  )
  return result
}
