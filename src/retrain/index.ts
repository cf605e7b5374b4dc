/** Compression that trains: learned rounding and quantization-aware training. */
export * from './qat/index.ts'
export * from './rounding/index.ts'
