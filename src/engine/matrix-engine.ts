/**
 * The {@link MatrixEngine} over an injected ONNX Runtime: one-node graphs, one session per element type and
 * transposition, shapes dynamic.
 *
 * ONNX Runtime multiplies several hundred GFLOP/s where plain JavaScript does two, but each call costs some tens of
 * microseconds and its result a copy (about 0.45 ms/MB): small products stay here, and long ones are cut so that the
 * runtime's copy of the result stays small. Writing into an array that the runtime is given was no faster.
 */
import {
  checkProduct,
  checkSlicesProduct,
  createPlainMatrixEngine,
  gramOfUnfolding,
  type Matrix,
  type MatrixEngine,
  type Slices,
} from '../decompose/index.ts'
import { type Executable, GraphBuilder, type Model } from '../graph/index.ts'
import { Tensor, transposeTensor } from '../tensor/index.ts'
import { contractedGramGraphs } from './contracted-gram.ts'
import { maybeContraction, updateSolver } from './contraction.ts'
import { createEvaluator } from './evaluator.ts'
import { modeProductsGraphs } from './mode-products.ts'
import { mttkrpGraphs } from './mttkrp.ts'
import type { OrtRuntime } from './ort.ts'

/** Options of {@link createMatrixEngine}. */
export interface MatrixEngineOptions {
  /** Threads per product; default: the runtime's choice, one per core. */
  readonly threads?: number | undefined
  /** Execution providers in order of preference; default: the CPU. */
  readonly executionProviders?: readonly unknown[] | undefined
  /** Whether the runtime copies what it is given with each run, as `onnxruntime-web` does; default `false`. */
  readonly copiesFeeds?: boolean | undefined
}

/**
 * Each session has its own threads, which by default spin for a while after a run: with several sessions in turn they
 * spin on the cores that the next one needs, and products take twice as long as without. Arenas keep what a product once
 * needed, per session, and save nothing when each product makes one large result.
 */
const SESSION_OPTIONS = {
  enableCpuMemArena: false,
  extra: { session: { intra_op: { allow_spinning: '0' } } },
}

/** A contraction's intermediate results are the same size in every run: an arena, which ends with it, keeps their pages. */
const CONTRACTION_OPTIONS = { ...SESSION_OPTIONS, enableCpuMemArena: true }

/** Products of fewer multiplications than this are not worth a call. */
const SMALL = 48 ** 3
/** An operand that is smaller than the other one by this factor is transposed here. */
const SMALL_SHARE = 4
/** Elements of a result that the runtime makes at once: 64 MB in float32. */
const MOST_RESULT = 16 * 1024 * 1024
/** Bytes of a product in one piece: putting together the pieces of a larger one needs as much memory, and a pass. */
const MOST_BYTES = 128 * 1024 * 1024

type Arrays = Float32Array | Float64Array

/**
 * A matrix engine over `onnxruntime-node`, `onnxruntime-web` or anything of the same form. Its sessions live as long as
 * the engine; make one and share it.
 *
 * @throws WhittleError (from products) `ENGINE` with the runtime's reason.
 */
export function createMatrixEngine(runtime: OrtRuntime, options: MatrixEngineOptions = {}): MatrixEngine {
  const evaluator = createEvaluator(runtime, { ...options, sessionOptions: SESSION_OPTIONS })
  const { copiesFeeds = false } = options
  const contractions = createEvaluator(runtime, { ...options, sessionOptions: CONTRACTION_OPTIONS })
  const plain = createPlainMatrixEngine()
  const sessions = new Map<string, Promise<Executable>>()

  const remembered = (key: string, model: () => Model): Promise<Executable> => {
    let session = sessions.get(key)
    if (!session) {
      session = evaluator.load(model(), { optimization: 'disabled' })
      sessions.set(key, session)
    }
    return session
  }

  const sessionFor = (dtype: 'float32' | 'float64', transA: boolean, transB: boolean): Promise<Executable> =>
    remembered(`${dtype} ${transA} ${transB}`, () => {
      const b = new GraphBuilder('product')
      const shape = [null, null]
      const inputs = [b.input('a', dtype, shape), b.input('b', dtype, shape)]
      b.output(b.op('Gemm', inputs, { transA: transA ? 1 : 0, transB: transB ? 1 : 0 }), dtype, shape)
      return b.model()
    })

  const run = async <T extends Arrays>(a: Matrix<T>, b: Matrix<T>, transA: boolean, transB: boolean): Promise<T> => {
    const session = await sessionFor(a.data instanceof Float32Array ? 'float32' : 'float64', transA, transB)
    const feeds = { a: Tensor.of(a.data, [a.rows, a.cols]), b: Tensor.of(b.data, [b.rows, b.cols]) }
    return Object.values(await session.run(feeds))[0]!.data as T
  }

  const slicesSession = (dtype: 'float32' | 'float64'): Promise<Executable> =>
    remembered(`slices ${dtype}`, () => {
      const b = new GraphBuilder('slices')
      const inputs = [b.input('a', dtype, [null, null]), b.input('slices', dtype, [null, null, null])]
      b.output(b.op('MatMul', inputs), dtype, [null, null, null])
      return b.model()
    })

  const runSlices = async <T extends Arrays>(a: Matrix<T>, { dims, data }: Slices<T>): Promise<T> => {
    const session = await slicesSession(data instanceof Float32Array ? 'float32' : 'float64')
    const feeds = { a: Tensor.of(a.data, [a.rows, a.cols]), slices: Tensor.of(data, dims) }
    return Object.values(await session.run(feeds))[0]!.data as T
  }

  const engine: MatrixEngine = {
    async multiply<T extends Arrays>(
      a: Matrix<T>,
      b: Matrix<T>,
      { transposeA = false, transposeB = false }: { readonly transposeA?: boolean; readonly transposeB?: boolean } = {},
    ): Promise<Matrix<T>> {
      const { m, k, n } = checkProduct(a, b, { transposeA, transposeB })
      if (m * k * n < SMALL) return plain.multiply(a, b, { transposeA, transposeB })
      // The runtime takes half as long again for a transposed operand, even a small one: the left one in Node, the right
      // one in WebAssembly.
      if (transposeA && m * k * SMALL_SHARE <= k * n) return engine.multiply(transposedOf(a), b, { transposeB })
      if (transposeB && k * n * SMALL_SHARE <= m * k) return engine.multiply(a, transposedOf(b), { transposeA })
      const most = MOST_BYTES / a.data.BYTES_PER_ELEMENT
      if (m * n <= most || transposeA) return { rows: m, cols: n, data: await run(a, b, transposeA, transposeB) }
      const data = (a.data instanceof Float32Array ? new Float32Array(m * n) : new Float64Array(m * n)) as T
      const step = Math.max(1, Math.floor(most / n))
      for (let row = 0; row < m; row += step) {
        const rows = Math.min(step, m - row)
        const part = { rows, cols: k, data: a.data.subarray(row * k, (row + rows) * k) as T }
        data.set(await run(part, b, false, transposeB), row * n)
      }
      return { rows: m, cols: n, data }
    },
    async multiplySlices<T extends Arrays>(
      a: Matrix<T>,
      slices: Slices<T>,
      { transposeA = false }: { readonly transposeA?: boolean } = {},
    ): Promise<Slices<T>> {
      const m = checkSlicesProduct(a, slices, { transposeA })
      const { dims, data } = slices
      const [outer, n, inner] = dims
      if (outer * m * n * inner < SMALL) return plain.multiplySlices(a, slices, { transposeA })
      // One slice, and slices of one column, are matrices.
      if (outer === 1) {
        const product = await engine.multiply(a, { rows: n, cols: inner, data }, { transposeA })
        return { dims: [1, m, inner], data: product.data }
      }
      if (inner === 1) {
        const product = await engine.multiply({ rows: outer, cols: n, data }, a, { transposeB: !transposeA })
        return { dims: [outer, m, 1], data: product.data }
      }
      const left = transposeA ? transposedOf(a) : a
      const step = Math.max(1, Math.floor(MOST_RESULT / (m * inner)))
      if (outer <= step) return { dims: [outer, m, inner], data: await runSlices(left, slices) }
      const out = (
        data instanceof Float32Array ? new Float32Array(outer * m * inner) : new Float64Array(outer * m * inner)
      ) as T
      for (let first = 0; first < outer; first += step) {
        const count = Math.min(step, outer - first)
        const part = data.subarray(first * n * inner, (first + count) * n * inner) as T
        out.set(await runSlices(left, { dims: [count, n, inner], data: part }), first * m * inner)
      }
      return { dims: [outer, m, inner], data: out }
    },
    gram: (a, gramOptions) => gramOfUnfolding(engine, a, gramOptions),
    maybePrepareContraction: (spec) => maybeContraction(contractions, spec, copiesFeeds),
    solveUpdate: updateSolver(evaluator),
    ...contractedGramGraphs((model) => evaluator.load(model, { optimization: 'disabled' })),
    ...modeProductsGraphs((model) => evaluator.load(model, { optimization: 'disabled' }), MOST_RESULT),
    ...mttkrpGraphs((model) => contractions.load(model, { optimization: 'disabled' }), MOST_RESULT),
  }
  return engine
}

/** Shares the data where no element moves. */
function transposedOf<T extends Arrays>({ rows, cols, data }: Matrix<T>): Matrix<T> {
  return { rows: cols, cols: rows, data: transposeTensor(Tensor.of(data, [rows, cols])).data as T }
}
