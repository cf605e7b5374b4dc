/**
 * Gram matrices of a contracted tensor in one graph: neither the contracted tensor nor its rearranged copy, many times
 * larger than the result, has to leave the runtime.
 */
import type { Matrix, MatrixEngine } from '../decompose/index.ts'
import { type Executable, GraphBuilder, type Model } from '../graph/index.ts'
import { Tensor } from '../tensor/index.ts'

type Arrays = Float32Array | Float64Array
type DType = 'float32' | 'float64'

/** basis `[r, o]` · tensor `[o, i·k]`, then i before r, and the products of its rows `[r·k]`. */
function middleGram(dtype: DType): Model {
  const b = new GraphBuilder('middle_gram')
  const basis = b.input('basis', dtype, [null, null])
  const tensor = b.input('tensor', dtype, [null, null])
  const shape = b.input('shape', 'int64', [3])
  const contracted = b.op('Reshape', [b.op('Gemm', [basis, tensor]), shape], {}, 'contracted')
  const moved = b.op('Transpose', [contracted], { perm: [1, 0, 2] })
  const rows = b.op('Flatten', [moved], { axis: 1 })
  b.output(b.op('Gemm', [rows, rows], { transB: 1 }, 'gram'), dtype, [null, null])
  b.output(contracted, dtype, [null, null, null])
  return b.model()
}

/** basis `[r, i]` · every slice `[i, k]` of the tensor `[o, i, k]`, and the products of the results as rows `[r·k]`. */
function firstGram(dtype: DType): Model {
  const b = new GraphBuilder('first_gram')
  const basis = b.input('basis', dtype, [null, null])
  const tensor = b.input('tensor', dtype, [null, null, null])
  const contracted = b.op('MatMul', [basis, tensor], {}, 'contracted')
  const rows = b.op('Flatten', [contracted], { axis: 1 })
  b.output(b.op('Gemm', [rows, rows], { transB: 1 }, 'gram'), dtype, [null, null])
  b.output(contracted, dtype, [null, null, null])
  return b.model()
}

/** @param load makes sessions, kept for ever. */
export function contractedGramGraphs(
  load: (model: Model) => Promise<Executable>,
): Required<Pick<MatrixEngine, 'contractedGram'>> {
  const sessions = new Map<string, Promise<Executable>>()
  return {
    async contractedGram<T extends Arrays>(
      tensor: { readonly data: T; readonly dims: readonly [o: number, i: number, k: number] },
      basis: Matrix<T>,
      mode: 0 | 1,
      { keep = false }: { readonly keep?: boolean } = {},
    ): Promise<{ gram: Matrix<T>; contracted: T | undefined }> {
      const { data, dims } = tensor
      const [o, i, k] = dims
      const dtype = data instanceof Float32Array ? 'float32' : 'float64'
      const key = `${mode} ${dtype}`
      const session = sessions.get(key) ?? load(mode === 0 ? firstGram(dtype) : middleGram(dtype))
      sessions.set(key, session)
      const feeds: Record<string, Tensor> = { basis: Tensor.of(basis.data, [basis.rows, basis.cols]) }
      if (mode === 0) feeds.tensor = Tensor.of(data, dims)
      else {
        feeds.tensor = Tensor.of(data, [o, i * k])
        feeds.shape = Tensor.int64([basis.rows, i, k])
      }
      const results = await (await session).run(feeds, keep ? ['gram', 'contracted'] : ['gram'])
      const n = mode === 0 ? o : i
      return {
        gram: { rows: n, cols: n, data: results.gram!.data as T },
        contracted: results.contracted?.data as T | undefined,
      }
    },
  }
}
