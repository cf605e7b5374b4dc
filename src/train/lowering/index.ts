export { blockSize } from './block-size.ts'
export { blockedLowering, type Lowering } from './lower.ts'
