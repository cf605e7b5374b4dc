/**
 * MTTKRP of a {@link MatrixEngine} in one graph, so that the intermediate `[p, q, rank]` stays inside the runtime.
 *
 * The mode in question is never moved: the tensor is contracted with one factor as it lies, the rest is a sum over a
 * tensor that is smaller by extent / rank.
 */
import type { Matrix, MatrixEngine } from '../decompose/index.ts'
import { type Executable, GraphBuilder, type Model } from '../graph/index.ts'
import { Tensor } from '../tensor/index.ts'

type Arrays = Float32Array | Float64Array
type DType = 'float32' | 'float64'
type Tensor3<T extends Arrays> = { readonly data: T; readonly dims: readonly [p: number, q: number, r: number] }

/** Modes 0 and 1: X[p, q, r] C[r, R] → [p, q, R], times the other factor, summed over its axis. */
function lastModeFirst(dtype: DType, axis: 0 | 1): Model {
  const b = new GraphBuilder('mttkrp')
  const x = b.input('x', dtype, [null, null, null])
  const other = b.input('other', dtype, [null, null, null])
  const last = b.input('contracted', dtype, [null, null])
  const products = b.op('Mul', [b.op('MatMul', [x, last]), other])
  const axes = b.constant(Tensor.int64([axis]), 'axes')
  b.output(b.op('ReduceSum', [products, axes], { keepdims: 0 }), dtype, [null, null])
  return b.model()
}

/** Mode 2: Bᵀ[R, q] X[p, q, r] → [p, R, r], times A as [p, R, 1], summed over p and transposed. */
function middleModeFirst(dtype: DType): Model {
  const b = new GraphBuilder('mttkrp')
  const x = b.input('x', dtype, [null, null, null])
  const other = b.input('other', dtype, [null, null, null])
  const middle = b.op('Transpose', [b.input('contracted', dtype, [null, null])], { perm: [1, 0] })
  const products = b.op('Mul', [b.op('MatMul', [middle, x]), other])
  const axes = b.constant(Tensor.int64([0]), 'axes')
  const sums = b.op('ReduceSum', [products, axes], { keepdims: 0 })
  b.output(b.op('Transpose', [sums], { perm: [1, 0] }), dtype, [null, null])
  return b.model()
}

/** Sums of the three modes over the first: those that are not are one slice of the result per slice of the tensor. */
const isSumOverFirst = (mode: 0 | 1 | 2): boolean => mode !== 0

/**
 * @param load makes sessions, kept for ever. @param mostElements of the intermediate results: longer ones are cut along
 *   the first mode.
 */
export function mttkrpGraphs(
  load: (model: Model) => Promise<Executable>,
  mostElements: number,
): Required<Pick<MatrixEngine, 'mttkrp'>> {
  const sessions = new Map<string, Promise<Executable>>()
  const run = async <T extends Arrays>(
    what: string,
    data: T,
    makeModel: (dtype: DType) => Model,
    feeds: Readonly<Record<string, Tensor>>,
  ): Promise<T> => {
    const dtype = data instanceof Float32Array ? 'float32' : 'float64'
    const key = `${what} ${dtype}`
    let session = sessions.get(key)
    if (!session) {
      session = load(makeModel(dtype))
      sessions.set(key, session)
    }
    const [result] = Object.values(await (await session).run(feeds))
    return result!.data as T
  }

  /** One piece of the tensor, and the rows of the factor of mode 0 that belong to it. */
  const mttkrpOfPiece = <T extends Arrays>(
    { data, dims }: Tensor3<T>,
    [a, b]: readonly [Matrix<T>, Matrix<T>],
    mode: 0 | 1 | 2,
  ): Promise<T> => {
    const x = Tensor.of(data, dims)
    const [first, second] = [Tensor.of(a.data, [a.rows, a.cols]), Tensor.of(b.data, [b.rows, b.cols])]
    if (mode === 2)
      return run('mttkrp 2', data, middleModeFirst, {
        x,
        other: first.reshape([a.rows, a.cols, 1]),
        contracted: second,
      })
    const other = first.reshape(mode === 0 ? [1, a.rows, a.cols] : [a.rows, 1, a.cols])
    const axis = mode === 0 ? 1 : 0
    return run(`mttkrp ${mode}`, data, (dtype) => lastModeFirst(dtype, axis), { x, other, contracted: second })
  }

  return {
    async mttkrp<T extends Arrays>(
      { data, dims }: Tensor3<T>,
      factors: readonly [Matrix<T>, Matrix<T>],
      mode: 0 | 1 | 2,
    ): Promise<Matrix<T>> {
      const [p, q, r] = dims
      const [a, b] = factors
      const rank = a.cols
      const step = Math.max(1, Math.floor(mostElements / (rank * (mode === 2 ? r : q))))
      if (step >= p) return { rows: dims[mode], cols: rank, data: await mttkrpOfPiece({ data, dims }, factors, mode) }
      const out = (
        data instanceof Float32Array ? new Float32Array(dims[mode] * rank) : new Float64Array(dims[mode] * rank)
      ) as T
      for (let from = 0; from < p; from += step) {
        const count = Math.min(step, p - from)
        const piece = { data: data.subarray(from * q * r, (from + count) * q * r) as T, dims: [count, q, r] as const }
        // Factors are those of the other modes: for modes 1 and 2 the first belongs to mode 0, and is cut with it.
        const rows = { rows: count, cols: rank, data: a.data.subarray(from * rank, (from + count) * rank) as T }
        const part = await mttkrpOfPiece(piece, isSumOverFirst(mode) ? [rows, b] : factors, mode)
        if (isSumOverFirst(mode)) for (let at = 0; at < out.length; at++) out[at]! += part[at]!
        else out.set(part, from * rank)
      }
      return { rows: dims[mode], cols: rank, data: out }
    },
  }
}
