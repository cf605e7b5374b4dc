export { blockSize } from './block-size.ts'
export type { StoredParameter } from './layouts.ts'
export { blockedLowering, type Lowered, type Lowering, type LoweringContext } from './lower.ts'
