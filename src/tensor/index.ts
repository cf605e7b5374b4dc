export { byteLengthOf, DTYPES, type DType, isFloat, maybeDType, type TypedArray } from './dtype.ts'
export { bfloat16ToNumber, float16ToNumber, numberToBfloat16, numberToFloat16 } from './half.ts'
export { fromNumbers, sizeOf, Tensor, toFloat32, toFloat64 } from './tensor.ts'
