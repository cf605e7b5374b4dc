export { type ErrorCode, fail, invariant, type Json, messageOf, WhittleError } from './errors.ts'
export { createRandom, type Random } from './random.ts'
export { checkAborted, type Progress, type TaskOptions, yieldToEventLoop } from './task.ts'
export { VERSION } from './version.ts'
