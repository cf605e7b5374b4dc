/** Accuracy of the shared labelled models is what their README says; `npm run accuracy` prints the whole table. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { evaluateModel, modelInputs, parsePreprocess, pictureExtentOf } from '../src/data/index.ts'
import { createEvaluator } from '../src/engine/index.ts'
import { openDataset } from '../src/node/data.ts'
import { decodeModel } from '../src/onnx/index.ts'
import { maybeShared } from './support/shared.ts'

interface Expected {
  readonly model: string
  readonly data: string
  readonly preprocess: unknown
  readonly top1: number
  readonly top5?: number
  readonly within: number
  readonly slow?: boolean
}

const { models } = JSON.parse(readFileSync(new URL('fixtures/labelled-models.json', import.meta.url), 'utf8')) as {
  models: Expected[]
}
const folder = maybeShared('models', 'onnx')
const data = maybeShared('data')
const evaluator = createEvaluator(ort)

describe.skipIf(!folder || !data)('evaluate', () => {
  it.each(models.filter(({ slow }) => !slow))(
    'reproduces the stated accuracy of $model with preprocessing $preprocess',
    async (expected) => {
      const model = decodeModel(readFileSync(join(folder!, expected.model)))
      const [kind, name = ''] = expected.data.split(':')
      const dataset = await openDataset(`${kind}:${join(data!, name)}`)
      const preprocess = parsePreprocess(expected.preprocess, pictureExtentOf(modelInputs(model)))
      const { top1, top5, loss, samples } = await evaluateModel(evaluator, model, dataset, { preprocess })
      expect(samples).toBe(dataset.size)
      // Stated to four digits.
      const within = expected.within || 0.00005
      expect(Math.abs(top1 - expected.top1), `top-1 ${top1}`).toBeLessThanOrEqual(within)
      if (expected.top5 !== undefined)
        expect(Math.abs(top5! - expected.top5), `top-5 ${top5}`).toBeLessThanOrEqual(within)
      expect(loss).toBeGreaterThan(0)
    },
  )
})
