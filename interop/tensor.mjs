// Tensor algebra on the same random data as TensorLy: inputs are written here, TensorLy's answers by python/tensor.py,
// and compared here: bit for bit where elements only move, by ‖A − B‖ / ‖A‖ where numbers are computed.
//
// The tests of src/tensor know TensorLy's answers to small integers; these are larger, odd-shaped, and of both types.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decodeNpy } from 'whittle-nn/data'
import { modeDotWith, multiModeDotWith, unfoldingDotKhatriRaoWith } from 'whittle-nn/decompose'
import { createNodeRuntime } from 'whittle-nn/node'
import * as algebra from 'whittle-nn/tensor'
import { normal } from '../bench/synthetic-weights.mjs'
import { encodeNpy } from './npy.mjs'

const { Tensor } = algebra
const SHAPES = [
  [37, 23],
  [30, 17, 45],
  [8, 9, 3, 3],
  [3, 4, 2, 5, 3],
]
const RANK = 7
/** Theirs is accumulated in the type itself. */
const TOLERANCE = { float32: 5e-6, float64: 1e-12 }

const range = (count) => Array.from({ length: count }, (_, k) => k)

/** Numbers of the reproducible generator; each tensor has its own stream. */
function source(dtype) {
  const Arrays = dtype === 'float32' ? Float32Array : Float64Array
  let stream = 1000
  return (...shape) => {
    stream++
    const length = shape.reduce((product, extent) => product * extent, 1)
    return Tensor.of(
      Arrays.from({ length }, (_, i) => normal(stream, i)),
      shape,
    )
  }
}

/** Calls of one shape: `{ fn, args, exact?, ours }`; args are what python/tensor.py takes, `ours` the same here. */
function callsOf(shape, random, engine) {
  const modes = range(shape.length)
  const x = random(...shape)
  const matrices = shape.map((extent, mode) => random(5 + mode, extent))
  const vectors = shape.map((extent) => random(extent))
  const factors = shape.map((extent) => random(extent, RANK))
  const weights = random(RANK)
  const rows = (skip) => shape.reduce((product, extent, mode) => (mode === skip ? product : product * extent), 1)
  const mask = random(rows(0), 1)
  const cp = { weights, factors }
  const ranks = shape.map((extent, mode) => Math.min(extent, 2 + mode))
  const tucker = { core: random(...ranks), factors: shape.map((extent, mode) => random(extent, ranks[mode])) }
  const bonds = [1, ...range(shape.length - 1).map((k) => 2 + k), 1]
  const train = shape.map((extent, k) => random(bonds[k], extent, bonds[k + 1]))
  const trainMatrix = shape.map((extent, k) => random(bonds[k], extent, 2 + (k % 2), bonds[k + 1]))
  const samples = [random(6, 5), random(6, 3, 2)]
  const other = random(...shape)
  const square = random(9, 9, 4)
  const call = (fn, args, ours, exact = false) => ({ fn, args, ours, exact })
  const moved = (fn, args, ours) => call(fn, args, ours, true)
  const each = (list, make) => list.flatMap(make)
  // Of a single matrix TensorLy returns that matrix, without weights or mask; and for matrices its tensor-train rule
  // counts a middle core that is not there (rank 4 where 14 has as many parameters as [37, 23]). We do neither.
  const unlessMatrix = (calls) => (shape.length > 2 ? calls : [])
  return [
    moved('tensor_to_vec', [x], () => algebra.tensorToVec(x)),
    moved('vec_to_tensor', [algebra.tensorToVec(x), shape], () => algebra.vecToTensor(algebra.tensorToVec(x), shape)),
    moved('partial_tensor_to_vec', [x, 1], () => algebra.partialTensorToVec(x)),
    moved('transpose', [x], () => algebra.transposeTensor(x)),
    ...each(modes, (mode) => {
      const unfolded = algebra.unfold(x, mode)
      return [
        moved('unfold', [x, mode], () => algebra.unfold(x, mode)),
        moved('fold', [unfolded, mode, shape], () => algebra.fold(unfolded, mode, shape)),
        moved('moveaxis', [x, mode, 0], () => algebra.moveaxis(x, mode, 0)),
        call('mode_dot', [x, matrices[mode], mode], () => algebra.modeDot(x, matrices[mode], mode)),
        call('mode_dot', [x, vectors[mode], mode], () => algebra.modeDot(x, vectors[mode], mode)),
        call('mode_dot', [x, matrices[mode], mode], () => modeDotWith(engine, x, matrices[mode], mode)),
        call('multi_mode_dot', [x, matrices, mode, false], () => algebra.multiModeDot(x, matrices, { skip: mode })),
        call('multi_mode_dot', [x, factors, mode, true], () =>
          algebra.multiModeDot(x, factors, { skip: mode, transpose: true }),
        ),
        call('mttkrp', [x, weights, factors, mode], () => algebra.unfoldingDotKhatriRao(x, cp, mode)),
        call('mttkrp', [x, weights, factors, mode], () => unfoldingDotKhatriRaoWith(engine, x, cp, mode)),
        ...unlessMatrix([
          call('khatri_rao', [factors, weights, mode], () => algebra.khatriRao(factors, { weights, skipMatrix: mode })),
        ]),
        call('cp_to_unfolded', [weights, factors, mode], () => algebra.cpToUnfolded(cp, mode)),
        call('tucker_to_unfolded', [tucker.core, tucker.factors, mode], () => algebra.tuckerToUnfolded(tucker, mode)),
        call('tucker_to_tensor', [tucker.core, tucker.factors, mode, false], () =>
          algebra.tuckerToTensor(tucker, { skipFactor: mode }),
        ),
        call('tt_to_unfolded', [train, mode], () => algebra.ttToUnfolded({ factors: train }, mode)),
      ]
    }),
    ...each(range(shape.length - 1), (mode) => {
      const partial = algebra.partialUnfold(x, { mode })
      return [
        moved('partial_unfold', [x, mode, 1], () => algebra.partialUnfold(x, { mode })),
        moved('partial_fold', [partial, mode, shape, 1], () => algebra.partialFold(partial, shape, { mode })),
      ]
    }),
    call('multi_mode_dot', [x, matrices, null, false], () => algebra.multiModeDot(x, matrices)),
    call('multi_mode_dot', [x, matrices, null, false], () => multiModeDotWith(engine, x, matrices)),
    call('multi_mode_dot', [x, vectors, 0, false], () => algebra.multiModeDot(x, vectors, { skip: 0 })),
    call('khatri_rao', [factors, weights, null], () => algebra.khatriRao(factors, { weights })),
    ...unlessMatrix([
      call('khatri_rao_masked', [factors, mask, 0], () => algebra.khatriRao(factors, { mask, skipMatrix: 0 })),
    ]),
    call('kronecker', [matrices.slice(0, 2), false], () => algebra.kronecker(matrices.slice(0, 2))),
    call('kronecker', [matrices.slice(0, 2), true], () => algebra.kronecker(matrices.slice(0, 2), { reverse: true })),
    call('outer', [[vectors[0], matrices[0], vectors[1]]], () => algebra.outer([vectors[0], matrices[0], vectors[1]])),
    call('batched_outer', [samples], () => algebra.batchedOuter(samples)),
    call('inner', [x, other], () => algebra.inner(x, other)),
    call('tensordot', [x, other, [modes.slice(1), modes.slice(1)]], () =>
      algebra.contract(x, other, [modes.slice(1), modes.slice(1)]),
    ),
    call('tensordot_batched', [square, square, [[0], [1]], [[2], [2]]], () =>
      algebra.contract(square, square, [[0], [1]], { batchedModes: [[2], [2]] }),
    ),
    ...each([1, 2, 'inf'], (order) =>
      call('norm', [x, order], () => algebra.norm(x, order === 'inf' ? Number.POSITIVE_INFINITY : order)),
    ),
    call('cp_to_tensor', [weights, factors], () => algebra.cpToTensor(cp)),
    call('cp_to_vec', [weights, factors], () => algebra.cpToVec(cp)),
    call('cp_norm', [weights, factors], () => algebra.cpNorm(cp)),
    call('cp_normalize', [weights, factors], () => {
      const unit = algebra.cpNormalize(cp)
      return [unit.weights, ...unit.factors]
    }),
    call('tucker_to_tensor', [tucker.core, tucker.factors, null, false], () => algebra.tuckerToTensor(tucker)),
    call('tucker_to_tensor', [x, factors, null, true], () =>
      algebra.tuckerToTensor({ core: x, factors }, { transposeFactors: true }),
    ),
    call('tucker_to_vec', [tucker.core, tucker.factors], () => algebra.tuckerToVec(tucker)),
    call('tt_to_tensor', [train], () => algebra.ttToTensor({ factors: train })),
    call('tt_to_vec', [train], () => algebra.ttToVec({ factors: train })),
    call('tt_matrix_to_tensor', [trainMatrix], () => algebra.ttMatrixToTensor({ factors: trainMatrix })),
    call('tt_matrix_to_matrix', [trainMatrix], () => algebra.ttMatrixToMatrix({ factors: trainMatrix })),
    call('tt_matrix_to_vec', [trainMatrix], () => algebra.ttMatrixToVec({ factors: trainMatrix })),
    ...each([0.1, 0.5, 'same'], (rule) => [
      call('validate_cp_rank', [shape, rule], () => algebra.validateCpRank(shape, rule), true),
      call('validate_tucker_rank', [shape, rule], () => algebra.validateTuckerRank(shape, rule), true),
      ...unlessMatrix([call('validate_tt_rank', [shape, rule], () => algebra.validateTtRank(shape, rule), true)]),
    ]),
  ]
}

/**
 * Writes the inputs, and the calls as JSON for python/tensor.py, which adds a file of results per call.
 *
 * @returns `{ job, compare }`: the path of the JSON file, and the comparison once Python has run.
 */
export async function tensorCases(folder) {
  const { matrices: engine } = await createNodeRuntime()
  const cases = []
  let files = 0
  const written = new Map()
  const encoded = (arg) => {
    if (Array.isArray(arg)) return arg.map(encoded)
    if (!(arg instanceof Tensor)) return arg
    if (!written.has(arg)) {
      const path = join(folder, `tensor-${files++}.npy`)
      writeFileSync(path, encodeNpy(arg.data, arg.shape))
      written.set(arg, { file: path })
    }
    return written.get(arg)
  }
  for (const dtype of ['float32', 'float64']) {
    const random = source(dtype)
    for (const shape of SHAPES)
      for (const { fn, args, ours, exact } of callsOf(shape, random, engine)) {
        const out = join(folder, `result-${cases.length}`)
        cases.push({ name: `${fn} of [${shape}] ${dtype}`, fn, args: args.map(encoded), out, dtype, exact, ours })
      }
  }
  const job = join(folder, 'tensor.json')
  writeFileSync(job, JSON.stringify(cases.map(({ fn, args, out }) => ({ fn, args, out }))))
  return { job, compare: () => compare(cases) }
}

async function compare(cases) {
  const problems = []
  let worst = 0
  for (const { name, out, dtype, exact, ours } of cases) {
    const results = [await ours()].flat()
    for (const [at, result] of results.entries()) {
      const path = `${out}-${at}.npy`
      if (!existsSync(path)) problems.push(`${name}: TensorLy gave no result ${at}.`)
      else {
        const difference = differenceOf(result, await decodeNpy(readFileSync(path), path))
        if (typeof difference === 'string') problems.push(`${name}: ${difference}`)
        else if (exact ? difference !== 0 : !(difference <= TOLERANCE[dtype]))
          problems.push(`${name}: relative difference ${difference.toExponential(1)}`)
        else if (dtype === 'float64') worst = Math.max(worst, difference)
      }
    }
  }
  return { problems, found: `${cases.length} calls, at most ${worst.toExponential(0)} apart in float64` }
}

/** ‖A − B‖ / ‖B‖, or what is wrong with the shape; numbers are tensors without modes. */
function differenceOf(actual, expected) {
  const theirs = Array.from(expected.data, Number)
  const isTensor = actual instanceof Tensor
  const ours = isTensor ? actual.data : [actual]
  if (isTensor && actual.shape.join() !== expected.shape.join())
    return `ours is [${actual.shape}], theirs [${expected.shape}]`
  if (ours.length !== theirs.length) return `we have ${ours.length} numbers, they have ${theirs.length}`
  let [difference, norm] = [0, 0]
  for (const [at, value] of theirs.entries()) {
    difference += (ours[at] - value) ** 2
    norm += value ** 2
  }
  return difference === 0 ? 0 : Math.sqrt(difference / norm)
}
