/**
 * Products along several modes of a {@link MatrixEngine} in one graph, so that what lies between them stays inside the
 * runtime: copied out and in again, it costs more than the products that follow the first.
 */
import type { MatrixEngine, ModeStep } from '../decompose/index.ts'
import { type Executable, GraphBuilder, type Model } from '../graph/index.ts'
import { Tensor, transposeTensor } from '../tensor/index.ts'

type Arrays = Float32Array | Float64Array
type DType = 'float32' | 'float64'
/** Where the mode is: a product along the first or the last is one of matrices. */
type Place = 'first' | 'middle' | 'last'

function placeOf([outer, , inner]: readonly [number, number, number]): Place {
  if (inner === 1) return 'last'
  return outer === 1 ? 'first' : 'middle'
}

/** Sessions are per sequence of places; shapes come with the feeds, matrices of last modes transposed. */
function modeProductsModel(dtype: DType, places: readonly Place[]): Model {
  const b = new GraphBuilder('mode_products')
  let tensor = b.input('tensor', dtype, undefined)
  for (const [at, place] of places.entries()) {
    const matrix = b.input(`matrix${at}`, dtype, [null, null])
    // What is given has the first shape already.
    if (at > 0) tensor = b.op('Reshape', [tensor, b.input(`shape${at}`, 'int64', [null])])
    tensor = b.op('MatMul', place === 'last' ? [tensor, matrix] : [matrix, tensor])
  }
  b.output(tensor, dtype)
  return b.model()
}

/** The tensor as the operand of its product. */
function operandShape([outer, n, inner]: readonly [number, number, number]): number[] {
  const place = placeOf([outer, n, inner])
  if (place === 'last') return [outer, n]
  return place === 'first' ? [n, inner] : [outer, n, inner]
}

/**
 * @param load makes sessions, kept for ever: there are few sequences of places.
 * @param mostElements of what lies between; beyond, products are the caller's.
 */
export function modeProductsGraphs(
  load: (model: Model) => Promise<Executable>,
  mostElements: number,
): Required<Pick<MatrixEngine, 'maybeMultiplyModes'>> {
  const sessions = new Map<string, Promise<Executable>>()
  return {
    maybeMultiplyModes<T extends Arrays>(data: T, steps: readonly ModeStep<T>[]): Promise<T> | undefined {
      const largest = Math.max(...steps.map(({ matrix, dims }) => dims[0] * matrix.rows * dims[2]))
      if (largest > mostElements) return undefined
      const dtype = data instanceof Float32Array ? 'float32' : 'float64'
      const places = steps.map(({ dims }) => placeOf(dims))
      const key = `${dtype} ${places.join(' ')}`
      const session = sessions.get(key) ?? load(modeProductsModel(dtype, places))
      sessions.set(key, session)
      const feeds: Record<string, Tensor> = { tensor: Tensor.of(data, operandShape(steps[0]!.dims)) }
      for (const [at, { matrix, dims }] of steps.entries()) {
        const given = Tensor.of(matrix.data, [matrix.rows, matrix.cols])
        feeds[`matrix${at}`] = placeOf(dims) === 'last' ? transposeTensor(given) : given
        if (at > 0) feeds[`shape${at}`] = Tensor.int64(operandShape(dims))
      }
      return session.then((loaded) => loaded.run(feeds)).then((results) => Object.values(results)[0]!.data as T)
    },
  }
}
