/** Checks, passes and observed shapes on the public ONNX backend tests: two thousand graphs nobody here has made. */
import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { createEvaluator, observeShapes } from '../src/engine/index.ts'
import { checkModel, ensureUniqueNames, type Model, simplify, type TensorMap } from '../src/graph/index.ts'
import { decodeModel, decodeTensor } from '../src/onnx/index.ts'
import { type Tensor, toFloat64 } from '../src/tensor/index.ts'
import { type OnnxCase, readOnnxCases } from './support/onnx-cases.ts'
import { maybeShared } from './support/shared.ts'

const archive = maybeShared('data', 'onnx-node-tests.tar.gz')
const evaluator = createEvaluator(ort, { threads: 1 })

async function run(model: Model, feeds: TensorMap): Promise<TensorMap> {
  const executable = await evaluator.load(model)
  try {
    return await executable.run(feeds)
  } finally {
    await executable.release()
  }
}

function feedsOf({ inputs }: OnnxCase, model: Model): TensorMap {
  const names = model.graph.inputs.map(({ name }) => name).filter((name) => !model.graph.initializers.has(name))
  return Object.fromEntries((inputs[0] ?? []).map((bytes, at) => [names[at]!, decodeTensor(bytes).tensor]))
}

/** What two tensors differ in, if anything; equal infinities and NaNs agree. */
function difference(a: Tensor, b: Tensor): string | undefined {
  const forms = [a, b].map(({ dtype, shape }) => `${dtype} [${shape.join(', ')}]`)
  if (forms[0] !== forms[1]) return forms.join(' → ')
  if (a.dtype === 'string') return undefined
  const [x, y] = [toFloat64(a), toFloat64(b)]
  let [square, norm] = [0, 0]
  for (let i = 0; i < x.length; i++) {
    if (Object.is(x[i], y[i])) continue
    square += (x[i]! - y[i]!) ** 2
    norm += x[i]! ** 2
  }
  return square === 0 || square <= 1e-10 * norm ? undefined : `relative error ${Math.sqrt(square / norm)}`
}

/** Problems of one case; `undefined` when ONNX Runtime cannot run it as it is. */
async function problemsOf(entry: OnnxCase): Promise<string[] | undefined> {
  const model = decodeModel(entry.model)
  ensureUniqueNames(model)
  const problems = checkModel(model).map(({ message }) => `as it is: ${message}`)
  const { model: simple } = await simplify(model, { evaluator })
  problems.push(...checkModel(simple).map(({ message }) => `simplified: ${message}`))
  let feeds: TensorMap
  let expected: TensorMap
  try {
    feeds = feedsOf(entry, model)
    expected = await run(model, feeds)
  } catch {
    return problems.length > 0 ? problems : undefined
  }
  const actual = await run(simple, feeds)
  // Shapes are observed of networks with something to feed them.
  const empty = Object.values(feeds).some(({ size }) => size === 0)
  const observed = empty ? undefined : await observeShapes(evaluator, model, { feeds })
  for (const [name, tensor] of Object.entries(expected)) {
    const changed = difference(tensor, actual[name]!)
    if (changed) problems.push(`simplified, ${name}: ${changed}`)
    const seen = observed?.get(name)
    if (observed && (seen?.dtype !== tensor.dtype || seen.shape.join() !== tensor.shape.join()))
      problems.push(`observed, ${name}: ${seen?.dtype} [${seen?.shape}], is ${tensor.dtype} [${tensor.shape}]`)
  }
  return problems
}

describe.skipIf(!archive)('the public ONNX backend tests', () => {
  it('pass the check, compute the same when simplified, and have the shapes that are observed', async () => {
    const problems: string[] = []
    let ran = 0
    for (const entry of readOnnxCases(archive!)) {
      const found = await problemsOf(entry)
      if (found) ran++
      for (const problem of found ?? []) problems.push(`${entry.name}: ${problem}`)
    }
    expect(problems).toEqual([])
    expect(ran).toBeGreaterThan(1450)
  }, 120_000)
})
