/**
 * The only error class of the package.
 *
 * Message form: what and where · the rule · what was found · what to do. Messages are for people, `code` is for
 * programs.
 */

/** What went wrong, for programs. */
export type ErrorCode =
  /** The bytes are not a file of the claimed kind, or are cut off or damaged. */
  | 'INVALID_FILE'
  /** The file was read, but the network in it breaks a rule of the format. */
  | 'INVALID_MODEL'
  /** An option or argument is wrong. */
  | 'INVALID_ARGUMENT'
  /** A dataset, label or preprocessing description is wrong or does not fit the model. */
  | 'INVALID_DATA'
  /** The request is understood but this package cannot serve it. */
  | 'UNSUPPORTED'
  /** NaN or infinity where finite numbers are required. */
  | 'NOT_FINITE'
  /** Shapes that have to agree do not. */
  | 'SHAPE_MISMATCH'
  /** A rank outside 1 … full rank. */
  | 'RANK_OUT_OF_RANGE'
  /** A named layer, file or value does not exist. */
  | 'NOT_FOUND'
  /** A plan or decompose_info.json does not belong to this model. */
  | 'PLAN_MISMATCH'
  /** A check that was asked for did not hold (exit code 2 of the command line). */
  | 'CHECK_FAILED'
  /** The work was cancelled. */
  | 'ABORTED'
  /** ONNX Runtime refused the model or failed while running it. */
  | 'ENGINE'
  /** A broken invariant of this package: a bug. */
  | 'INTERNAL'

/** Values that survive JSON. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

/** An error with a message for people, a `code` for programs and JSON `details`. */
export class WhittleError extends Error {
  readonly code: ErrorCode
  readonly details: Json

  constructor(code: ErrorCode, message: string, options: { details?: Json; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'WhittleError'
    this.code = code
    this.details = options.details ?? null
  }
}

/** Throws a {@link WhittleError}. */
export function fail(code: ErrorCode, message: string, options?: { details?: Json; cause?: unknown }): never {
  throw new WhittleError(code, message, options)
}

/** Throws an `INTERNAL` error unless `condition` holds; every such throw is a bug report. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new WhittleError('INTERNAL', `Internal: ${message}`)
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
