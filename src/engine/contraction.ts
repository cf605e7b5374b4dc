/**
 * Updates of CP factors as one graph: the large product, the two passes over its result, and the solution of the normal
 * equations between them. The product, several megabytes, stays inside the runtime.
 *
 * Components come first everywhere: then both passes are batches of matrix-vector products over contiguous memory.
 */
import type {
  Contraction,
  ContractionInputs,
  ContractionOutputs,
  ContractionSpec,
  MatrixEngine,
  SolvedUpdate,
  UpdateEquations,
} from '../decompose/index.ts'
import { type Dimension, type Evaluator, type Executable, GraphBuilder, type Model } from '../graph/index.ts'
import { DTYPES, sizeOf, Tensor } from '../tensor/index.ts'

type Arrays = Float32Array | Float64Array

/** Multiply-adds from which a session is worth making. */
const LEAST_WORK = 2 ** 19

/**
 * The contraction of a tensor over an evaluator's runtime; `undefined` for small ones.
 *
 * @param embeds whether a tensor that does not change becomes part of the graph. That takes the time of dozens of runs
 *   to set up and saves a sixth of each, or, where feeds are copied, most of it.
 */
export async function maybeContraction<T extends Arrays>(
  evaluator: Evaluator,
  spec: ContractionSpec<T>,
  embeds: boolean,
): Promise<Contraction<T> | undefined> {
  const fed = spec.changing || !embeds
  const size = spec.first * sizeOf(spec.others) * sizeOf(spec.contracted)
  if (size * spec.rank < LEAST_WORK) return undefined
  // One graph per tensor and what is asked of it; both are made when first needed.
  const sessions = new Map<boolean, Promise<Executable>>()
  const sessionFor = (solves: boolean): Promise<Executable> => {
    let session = sessions.get(solves)
    if (!session) {
      session = evaluator.load(contractionModel(spec, { solves, fed }), { optimization: 'disabled' })
      sessions.set(solves, session)
    }
    return session
  }
  return {
    async run(inputs) {
      const session = await sessionFor(inputs.equations !== undefined)
      const results = await session.run(feedsOf(spec, inputs, fed))
      return outputsOf<T>(results)
    },
    async release() {
      for (const session of sessions.values()) await (await session).release()
      sessions.clear()
    },
  }
}

const dtypeOf = (data: Arrays): 'float32' | 'float64' => (data instanceof Float32Array ? 'float32' : 'float64')

/** `[rows, Π contracted]`, or the other way round. */
function matrixShape(spec: ContractionSpec<Arrays>): readonly [number, number] {
  const [rows, columns] = [spec.first * sizeOf(spec.others), sizeOf(spec.contracted)]
  return spec.contractedFirst ? [columns, rows] : [rows, columns]
}

function feedsOf<T extends Arrays>(
  spec: ContractionSpec<T>,
  inputs: ContractionInputs<T>,
  fed: boolean,
): Record<string, Tensor> {
  const { rank } = spec
  const feeds: Record<string, Tensor> = {}
  for (const [k, extent] of spec.others.entries()) feeds[`other${k}`] = Tensor.of(inputs.others[k]!, [rank, extent])
  for (const [k, extent] of spec.contracted.entries())
    feeds[`contracted${k}`] = Tensor.of(inputs.contracted[k]!, [rank, extent])
  if (fed) feeds.tensor = Tensor.of(inputs.data ?? spec.data, matrixShape(spec))
  if (inputs.equations) {
    feeds.whitening = Tensor.of(inputs.equations.whitening, [rank, rank])
    feeds.pull = Tensor.of(inputs.equations.pull ?? new Float64Array(rank * spec.first), [rank, spec.first])
  }
  return feeds
}

function outputsOf<T extends Arrays>(results: Readonly<Record<string, Tensor>>): ContractionOutputs<T> {
  const { mttkrp, factor, gram, rest } = results
  return {
    mttkrp: mttkrp!.data as T,
    ...(factor ? { update: { factor: factor.data as T, gram: gram!.data as Float64Array } } : {}),
    ...(rest ? { rest: rest.data as T } : {}),
  }
}

function contractionModel(
  spec: ContractionSpec<Arrays>,
  { solves, fed }: { readonly solves: boolean; readonly fed: boolean },
): Model {
  const { first, others, contracted, rank } = spec
  const dtype = dtypeOf(spec.data)
  const b = new GraphBuilder('contraction')
  const shaped = (value: string, shape: readonly number[], name?: string): string =>
    b.op('Reshape', [value, b.constant(Tensor.int64(shape))], {}, name)
  const khatriRao = (name: string, extents: readonly number[]): string =>
    extents
      .map((extent, k) => b.input(`${name}${k}`, dtype, [rank, extent]))
      .reduce((left, right, k) => {
        const rows = sizeOf(extents.slice(0, k))
        // Outer products; as a broadcast Mul short last modes take ten times as long.
        const product = b.op('MatMul', [shaped(left, [rank, rows, 1]), shaped(right, [rank, 1, extents[k]!])])
        return shaped(product, [rank, rows * extents[k]!])
      })

  const shape = matrixShape(spec)
  const tensor = fed ? b.input('tensor', dtype, shape) : b.constant(Tensor.of(spec.data, shape), 'tensor')
  const width = sizeOf(others)
  const partial = b.op(
    'Gemm',
    [khatriRao('contracted', contracted), tensor],
    { transB: spec.contractedFirst ? 0 : 1 },
    others.length > 0 ? 'partial' : 'mttkrp',
  )
  const cube = others.length > 0 ? shaped(partial, [rank, first, width]) : undefined
  if (cube)
    shaped(b.op('MatMul', [cube, shaped(khatriRao('other', others), [rank, width, 1])]), [rank, first], 'mttkrp')
  b.output('mttkrp', dtype, [rank, first])
  if (solves) {
    addSolution(b, dtype, [rank, first])
    if (cube) {
      shaped(b.op('MatMul', [shaped('factor', [rank, 1, first]), cube]), [rank, width], 'rest')
      b.output('rest', dtype, [rank, width])
    }
  }
  return b.model()
}

/** factor = Wᵀ W (mttkrp + P), rounded to the type, and gram = factor · factorᵀ, in float64. */
function addSolution(b: GraphBuilder, dtype: 'float32' | 'float64', shape: readonly [Dimension, Dimension]): void {
  const whitening = b.input('whitening', 'float64', [shape[0], shape[0]])
  const pull = b.input('pull', 'float64', shape)
  const single = dtype === 'float32'
  const wide = (value: string): string => (single ? b.op('Cast', [value], { to: DTYPES.float64.code }) : value)
  const white = b.op('Gemm', [whitening, b.op('Add', [wide('mttkrp'), pull])])
  const solved = b.op('Gemm', [whitening, white], { transA: 1 }, single ? undefined : 'factor')
  const factor = single ? b.op('Cast', [solved], { to: DTYPES.float32.code }, 'factor') : solved
  const rounded = wide(factor)
  b.op('Gemm', [rounded, rounded], { transB: 1 }, 'gram')
  b.output('factor', dtype, shape)
  b.output('gram', 'float64', [shape[0], shape[0]])
}

/** {@link MatrixEngine.solveUpdate} over an evaluator's runtime: one session per element type. */
export function updateSolver(evaluator: Evaluator): NonNullable<MatrixEngine['solveUpdate']> {
  const sessions = new Map<string, Promise<Executable>>()
  return async <T extends Arrays>({ whitening, pull }: UpdateEquations, mttkrp: T): Promise<SolvedUpdate<T>> => {
    const dtype = dtypeOf(mttkrp)
    let session = sessions.get(dtype)
    if (!session) {
      const b = new GraphBuilder('update')
      b.input('mttkrp', dtype, [null, null])
      addSolution(b, dtype, [null, null])
      session = evaluator.load(b.model(), { optimization: 'disabled' })
      sessions.set(dtype, session)
    }
    const rank = Math.sqrt(whitening.length)
    const shape = [rank, mttkrp.length / rank]
    const { factor, gram } = await (await session).run({
      mttkrp: Tensor.of(mttkrp, shape),
      whitening: Tensor.of(whitening, [rank, rank]),
      pull: Tensor.of(pull ?? new Float64Array(mttkrp.length), shape),
    })
    return { factor: factor!.data as T, gram: gram!.data as Float64Array }
  }
}
