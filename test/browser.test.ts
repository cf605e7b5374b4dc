/** The library over onnxruntime-web: in Node, and in a real browser, against onnxruntime-node. */
import { readFileSync } from 'node:fs'
import * as native from 'onnxruntime-node'
import * as web from 'onnxruntime-web'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createEvaluator, createMatrixEngine } from '../src/engine/index.ts'
import { createWebRuntime, memoryCheckpoints, readModel } from '../src/web/index.ts'
import {
  type Computed,
  computeOn,
  type GpuReport,
  type PageReport,
  type TrainingReport,
} from './support/browser-entry.ts'
import { browserPath, startBrowser, type TestBrowser } from './support/browser-page.ts'
import { type TrainedSteps, trainSteps, trainWhole } from './support/browser-training.ts'
import { relativeErrorOf } from './support/tensors.ts'

const modelBytes = readFileSync(new URL('../examples/models/resnet20-cifar10.onnx', import.meta.url))
const pictures = readFileSync(new URL('../examples/data/cifar10/data_batch_1.bin', import.meta.url))

let expected: Computed
let trained: TrainedSteps

beforeAll(async () => {
  const runtime = {
    evaluator: createEvaluator(native, { threads: 2 }),
    matrices: createMatrixEngine(native, { threads: 2 }),
  }
  expected = await computeOn(runtime, await readModel(modelBytes))
  trained = await trainSteps(runtime.evaluator, pictures)
})

/** Equal but for rounding: kernels of other processors sum in another order. */
function expectSame(actual: Computed): void {
  expect(relativeErrorOf(expected.outputs, actual.outputs)).toBeLessThan(1e-5)
  expect(relativeErrorOf(expected.eigenvalues, actual.eigenvalues)).toBeLessThan(1e-12)
  // ResNet-20 has 40,551,040.
  expect(actual.macs / 40551040).toBeLessThanOrEqual(0.5)
  expect([actual.macs, actual.bytes]).toEqual([expected.macs, expected.bytes])
  expect(relativeErrorOf(expected.decomposedOutputs, actual.decomposedOutputs)).toBeLessThan(1e-3)
}

/**
 * Weights after one step and after some more. Measured: 3.1e-7 and 2.6e-6, in WebAssembly and on WebGPU alike, which is
 * as far apart as two runs in Node are whose first weights differ by a rounding, 6e-8.
 */
function expectTrainedAlike(actual: TrainedSteps): void {
  expect(relativeErrorOf(trained.losses.slice(0, actual.losses.length), actual.losses)).toBeLessThan(1e-6)
  expect(relativeErrorOf(trained.first, actual.first)).toBeLessThan(1e-6)
  if (actual.losses.length === trained.losses.length)
    expect(relativeErrorOf(trained.last, actual.last)).toBeLessThan(1e-5)
}

describe('onnxruntime-web gives what onnxruntime-node gives', () => {
  it('in Node', async () => {
    const runtime = createWebRuntime(web, { threads: 1 })
    expectSame(await computeOn(runtime, await readModel(modelBytes)))
    expectTrainedAlike(await trainSteps(runtime.evaluator, pictures))
  })

  it('as far as a rounding of the first weights goes', async () => {
    const changed = await trainSteps(createEvaluator(native, { threads: 2 }), pictures, { change: 6e-8 })
    expect(relativeErrorOf(trained.last, changed.last)).toBeGreaterThan(1e-7)
    expectTrainedAlike(changed)
  })

  describe.skipIf(!browserPath)('in a browser', () => {
    let browser: TestBrowser

    beforeAll(async () => {
      browser = await startBrowser('browser-entry.ts')
    })

    afterAll(() => browser?.close())

    it('with two threads on an isolated page', async () => {
      const report = (await browser.evaluate('wasm', 'report(ort)')) as PageReport
      expect(report.isolated).toBe(true)
      expect(report.error).toMatch(/^Model 'http:.*\/nothing\.onnx': the server answered with status 404\.$/)
      expectSame(report)
    })

    it('when it trains', async () => {
      const { steps, whole, left } = (await browser.evaluate('wasm', 'reportTraining(ort)')) as TrainingReport
      expectTrainedAlike(steps)
      const here = await trainWhole(
        { evaluator: createEvaluator(native, { threads: 2 }) },
        pictures,
        memoryCheckpoints(),
      )
      for (const run of [whole, here]) {
        expect(run.progress.at(-1)).toBe(15)
        expect(run.top1[1]).toBeGreaterThan(run.top1[0]!)
        expect(run.cancelled).toBe('ABORTED')
        expect(relativeErrorOf(run.weights, run.resumed)).toBe(0)
      }
      // Measured: 5.8e-7.
      expect(relativeErrorOf(here.weights, whole.weights)).toBeLessThan(1e-4)
      expect(left).toBe(false)
    })

    it('when it trains on WebGPU', async ({ skip }) => {
      const report = (await browser.evaluate('webgpu', 'reportGpuTraining(ort)')) as GpuReport
      if (!report.steps) {
        console.warn(`Skipped: ${report.missing}.`)
        return skip(report.missing)
      }
      expectTrainedAlike(report.steps)
    }, 120_000)
  })
})
