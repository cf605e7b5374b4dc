// Every site of every real network, replaced at full rank: the network's outputs stay.
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import * as ort from 'onnxruntime-node'
import { describe, expect, test } from 'vitest'
import { prepareModel } from '../src/api/index.ts'
import { applyLowRank, FORM_NAMES, findSites, type LowRankPlan, variantsOf } from '../src/compress/index.ts'
import { createEvaluator, createMatrixEngine, observeShapes, randomFeeds } from '../src/engine/index.ts'
import { type Model, modelHash, type TensorMap } from '../src/graph/index.ts'
import { loadModel } from '../src/node/index.ts'
import { type Tensor, toFloat64 } from '../src/tensor/index.ts'

const SHARED = process.env.WHITTLE_SHARED ?? '../shared'
const FOLDER = join(SHARED, 'models/onnx')
const evaluator = createEvaluator(ort, { threads: 2 })
const matrices = createMatrixEngine(ort, { threads: 2 })

/** Shapes of inputs that models leave open beyond the batch. */
const INPUT_SHAPES: Readonly<Record<string, Readonly<Record<string, readonly number[]>>>> = {
  'ppocr_pp-ocrv3_det_infer.onnx': { x: [1, 3, 96, 96] },
}
/** Large ones, left to the slow lane by time rather than by kind. */
const SLOW = new Set(['style_candy.onnx', 'unet_upsample_small.onnx'])

const names = existsSync(FOLDER) ? readdirSync(FOLDER).filter((name) => name.endsWith('.onnx') && !SLOW.has(name)) : []
if (names.length === 0) console.log(`Skipped: ${FOLDER} does not exist; set WHITTLE_SHARED.`)

async function outputs(model: Model, feeds: TensorMap): Promise<Record<string, Tensor>> {
  const executable = await evaluator.load(model)
  const results = await executable.run(feeds)
  await executable.release()
  return results
}

function relativeError(actual: Tensor, expected: Tensor): number {
  const a = toFloat64(actual)
  const e = toFloat64(expected)
  expect(a.length).toBe(e.length)
  let difference = 0
  let norm = 0
  for (let i = 0; i < e.length; i++) {
    difference += (a[i]! - e[i]!) ** 2
    norm += e[i]! ** 2
  }
  return Math.sqrt(difference / (norm || 1))
}

/** A plan that replaces every site that some form takes, forms in turn, at full rank. */
function fullRankPlan(model: Model, shapes: ReadonlyMap<string, { readonly shape: readonly number[] }>): LowRankPlan {
  const { sites } = findSites(model, shapes)
  const taken = new Map<string, { form: (typeof FORM_NAMES)[number]; variant: string; ranks: Record<string, number> }>()
  let turn = 0
  const steps = sites.flatMap((site) => {
    const variants = FORM_NAMES.flatMap((form) => {
      const found = variantsOf(form, site)
      return typeof found === 'string' ? [] : found
    })
    if (variants.length === 0) return []
    const variant = variants[turn++ % variants.length]!
    const chosen = taken.get(site.weightName) ?? {
      form: variant.form,
      variant: variant.variant,
      ranks: variant.fullRanks,
    }
    taken.set(site.weightName, chosen)
    return [
      {
        ...chosen,
        site: site.name,
        op: site.op,
        parameters: { before: 0, after: 0 },
        macs: { before: null, after: null },
        estimatedError: null,
        dataAware: false,
      },
    ]
  })
  return { method: 'low-rank', version: 1, model: modelHash(model), seed: 0, steps, skips: [], warnings: [] }
}

describe.skipIf(names.length === 0)('decomposed at full rank', () => {
  test.each(names)('%s keeps its outputs', async (name) => {
    const inputShapes = INPUT_SHAPES[name]
    const model = await prepareModel(await loadModel(join(FOLDER, name)), { evaluator })
    const shapes = await observeShapes(evaluator, model, { inputShapes })
    const plan = fullRankPlan(model, shapes)
    expect(plan.steps.length).toBeGreaterThan(0)
    const { model: replaced } = await applyLowRank(model, plan, { matrices })
    expect(replaced.graph.nodes.length).toBeGreaterThan(model.graph.nodes.length)
    const feeds = randomFeeds(model, { inputShapes, seed: 1 })
    const expected = await outputs(model, feeds)
    const actual = await outputs(replaced, feeds)
    // float16 factors are rounded to 11 bits, layer after layer.
    const tolerance = name.includes('fp16') ? 3e-2 : 1e-4
    for (const [output, tensor] of Object.entries(expected))
      if (tensor.dtype.startsWith('float'))
        expect(relativeError(actual[output]!, tensor), output).toBeLessThan(tolerance)
  })
})
