/** Gradients of matrix products. */
import { float, floatAttribute, intAttribute } from '../../graph/index.ts'
import { sizeOf } from '../../tensor/index.ts'
import { broadcastShape, type Emitter } from '../emitter.ts'
import type { GradientRule, GradientRules } from './rule.ts'

/**
 * ∂A = G·Bᵀ, ∂B = Aᵀ·G; vectors are matrices of one row or column for it. Where B has no batch axes, those of A are
 * rows, so that ∂B is one product instead of a sum of many.
 */
const matmul: GradientRule = ({ emit, inputs: [a, b], gradients: [g], needs }) => {
  const [shapeA, shapeB] = [emit.shape(a!), emit.shape(b!)]
  const right = shapeB.length === 1 ? emit.reshape(b!, [shapeB[0]!, 1]) : b!
  const left = shapeA.length === 1 ? emit.reshape(a!, [1, shapeA[0]!]) : a!
  const [depth, columns] = emit.shape(right).slice(-2) as [number, number]
  if (emit.shape(right).length === 2) {
    const rows = sizeOf(emit.shape(left)) / Math.max(1, depth)
    const flat = emit.reshape(g!, [rows, columns])
    return [
      needs(0) ? emit.reshape(gemm(emit, flat, right, false, true), shapeA) : undefined,
      needs(1) ? emit.reshape(gemm(emit, emit.reshape(left, [rows, depth]), flat, true, false), shapeB) : undefined,
    ]
  }
  const lead = broadcastShape(emit.shape(left).slice(0, -2), emit.shape(right).slice(0, -2))
  const full = emit.reshape(g!, [...lead, emit.shape(left).at(-2)!, columns])
  const dLeft = () => {
    const product = emit.matmul(full, emit.swapLast(right))
    // A vector's gradient is summed over the batch axes here, where it still is a matrix.
    return emit.reshape(emit.sumTo(product, emit.shape(left)), shapeA)
  }
  const dRight = () => emit.matmul(emit.swapLast(left), full)
  return [needs(0) ? dLeft() : undefined, needs(1) ? dRight() : undefined]
}

/** A product of matrices, either of them transposed by the operator itself. */
function gemm(emit: Emitter, a: string, b: string, transA: boolean, transB: boolean, alpha = 1): string {
  const [rows, columns] = [emit.shape(a)[transA ? 1 : 0]!, emit.shape(b)[transB ? 0 : 1]!]
  if (!transA && !transB && alpha === 1) return emit.matmul(a, b)
  const attributes = {
    alpha: alpha === 1 ? undefined : float(alpha),
    transA: transA ? 1 : undefined,
    transB: transB ? 1 : undefined,
  }
  return emit.op('Gemm', [a, b], [rows, columns], attributes)
}

/** y = α·A'·B' + β·C with A' and B' transposed as the attributes say. */
const gemmRule: GradientRule = ({ emit, node, inputs: [a, b], gradients: [g], needs }) => {
  const alpha = floatAttribute(node, 'alpha', 1)
  const transA = intAttribute(node, 'transA', 0) !== 0
  const transB = intAttribute(node, 'transB', 0) !== 0
  const da = () => (transA ? gemm(emit, b!, g!, transB, true, alpha) : gemm(emit, g!, b!, false, !transB, alpha))
  const db = () => (transB ? gemm(emit, g!, a!, true, transA, alpha) : gemm(emit, a!, g!, !transA, false, alpha))
  return [
    needs(0) ? da() : undefined,
    needs(1) ? db() : undefined,
    needs(2) ? emit.scale(g!, floatAttribute(node, 'beta', 1)) : undefined,
  ]
}

/** Matrix products. */
export const MATMUL_RULES: GradientRules = { Gemm: gemmRule, MatMul: matmul }
