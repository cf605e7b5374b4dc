/** Compression that trains: learned rounding and quantization-aware training. */
export * from './qat/index.ts'
