/**
 * Updates of CP factors as one graph: the large product, the two passes over its result, and the solution of the normal
 * equations between them. The product, several megabytes, stays inside the runtime.
 *
 * Components come first everywhere: then both passes are batches of matrix-vector products over contiguous memory. The
 * tensor is an initializer, which the runtime arranges for its product once, unless it changes.
 */
import type { Contraction, ContractionInputs, ContractionOutputs, ContractionSpec } from '../decompose/index.ts'
import { type Evaluator, type Executable, GraphBuilder, type Model } from '../graph/index.ts'
import { DTYPES, sizeOf, Tensor } from '../tensor/index.ts'

type Arrays = Float32Array | Float64Array

/** Multiply-adds from which a session is worth making. */
const LEAST_WORK = 2 ** 19

/** The contraction of a tensor over an evaluator's runtime; `undefined` for small ones. */
export async function maybeContraction<T extends Arrays>(
  evaluator: Evaluator,
  spec: ContractionSpec<T>,
): Promise<Contraction<T> | undefined> {
  const size = spec.first * sizeOf(spec.others) * sizeOf(spec.contracted)
  if (size * spec.rank < LEAST_WORK) return undefined
  // One graph per tensor and what is asked of it; both are made when first needed.
  const sessions = new Map<boolean, Promise<Executable>>()
  const sessionFor = (solves: boolean): Promise<Executable> => {
    let session = sessions.get(solves)
    if (!session) {
      session = evaluator.load(contractionModel(spec, solves), { optimization: 'disabled' })
      sessions.set(solves, session)
    }
    return session
  }
  return {
    async run(inputs) {
      const session = await sessionFor(inputs.equations !== undefined)
      const results = await session.run(feedsOf(spec, inputs))
      return outputsOf<T>(results)
    },
    async release() {
      for (const session of sessions.values()) await (await session).release()
      sessions.clear()
    },
  }
}

const dtypeOf = (data: Arrays): 'float32' | 'float64' => (data instanceof Float32Array ? 'float32' : 'float64')

/** `[rows, Π contracted]` */
function matrixShape({ first, others, contracted }: ContractionSpec<Arrays>): readonly [number, number] {
  return [first * sizeOf(others), sizeOf(contracted)]
}

function feedsOf<T extends Arrays>(spec: ContractionSpec<T>, inputs: ContractionInputs<T>): Record<string, Tensor> {
  const { rank } = spec
  const feeds: Record<string, Tensor> = {}
  for (const [k, extent] of spec.others.entries()) feeds[`other${k}`] = Tensor.of(inputs.others[k]!, [rank, extent])
  for (const [k, extent] of spec.contracted.entries())
    feeds[`contracted${k}`] = Tensor.of(inputs.contracted[k]!, [rank, extent])
  if (spec.changing) feeds.tensor = Tensor.of(inputs.data!, matrixShape(spec))
  if (inputs.equations) {
    feeds.whitening = Tensor.of(inputs.equations.whitening, [rank, rank])
    feeds.pull = Tensor.of(inputs.equations.pull ?? new Float64Array(rank * spec.first), [rank, spec.first])
  }
  return feeds
}

function outputsOf<T extends Arrays>(results: Readonly<Record<string, Tensor>>): ContractionOutputs<T> {
  const { mttkrp, factor, gram, rest } = results
  const update = factor && {
    factor: factor.data as T,
    gram: gram!.data as Float64Array,
    ...(rest ? { rest: rest.data as T } : {}),
  }
  return { mttkrp: mttkrp!.data as T, ...(update ? { update } : {}) }
}

function contractionModel<T extends Arrays>(spec: ContractionSpec<T>, solves: boolean): Model {
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
        const product = b.op('Mul', [shaped(left, [rank, rows, 1]), shaped(right, [rank, 1, extents[k]!])])
        return shaped(product, [rank, rows * extents[k]!])
      })

  const shape = matrixShape(spec)
  const tensor = spec.changing ? b.input('tensor', dtype, shape) : b.constant(Tensor.of(spec.data, shape), 'tensor')
  const width = sizeOf(others)
  const partial = b.op(
    'Gemm',
    [khatriRao('contracted', contracted), tensor],
    { transB: 1 },
    others.length > 0 ? 'partial' : 'mttkrp',
  )
  const cube = others.length > 0 ? shaped(partial, [rank, first, width]) : undefined
  if (cube)
    shaped(b.op('MatMul', [cube, shaped(khatriRao('other', others), [rank, width, 1])]), [rank, first], 'mttkrp')
  b.output('mttkrp', dtype, [rank, first])
  if (solves) {
    addSolution(b, spec)
    b.output('factor', dtype, [rank, first])
    b.output('gram', 'float64', [rank, rank])
    if (cube) {
      shaped(b.op('MatMul', [shaped('factor', [rank, 1, first]), cube]), [rank, width], 'rest')
      b.output('rest', dtype, [rank, width])
    }
  }
  return b.model()
}

/** factor = Wᵀ W (M + P), rounded to the tensor's type, and gram = factor · factorᵀ, in float64. */
function addSolution(b: GraphBuilder, { first, rank, data }: ContractionSpec<Arrays>): void {
  const whitening = b.input('whitening', 'float64', [rank, rank])
  const pull = b.input('pull', 'float64', [rank, first])
  const single = data instanceof Float32Array
  const wide = (value: string): string => (single ? b.op('Cast', [value], { to: DTYPES.float64.code }) : value)
  const white = b.op('Gemm', [whitening, b.op('Add', [wide('mttkrp'), pull])])
  const solved = b.op('Gemm', [whitening, white], { transA: 1 }, single ? undefined : 'factor')
  const factor = single ? b.op('Cast', [solved], { to: DTYPES.float32.code }, 'factor') : solved
  const rounded = wide(factor)
  b.op('Gemm', [rounded, rounded], { transB: 1 }, 'gram')
}
