/** Progress and cancellation of long work: every long function of the package takes {@link TaskOptions}. */
import { WhittleError } from './errors.ts'

/** How far a long task is. */
export interface Progress {
  /** What is being done, e.g. `'decompose'`. */
  readonly stage: string
  /** Units finished so far. */
  readonly done: number
  /** Units in all; absent when it is not known. */
  readonly total?: number | undefined
  /** What is being worked on, e.g. a layer's name. */
  readonly item?: string | undefined
  /** Numbers of the moment by name, e.g. `loss` and `secondsLeft` while training. */
  readonly values?: Readonly<Record<string, number>> | undefined
}

/** Options of every long function. */
export interface TaskOptions {
  /** Cancels the work: it stops at the next unit and throws a `WhittleError` with code `ABORTED`. */
  readonly signal?: AbortSignal | undefined
  /** Called between units of work; must not throw. */
  readonly onProgress?: ((progress: Progress) => void) | undefined
}

/** Throws an `ABORTED` error when the signal was given and has fired. */
export function checkAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new WhittleError('ABORTED', 'The work was cancelled.', { cause: signal.reason })
}

/** Lets timers and signals run; the engine's own runs block the event loop. */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0))
}
