// Every public network of the collection becomes integers, runs in ONNX Runtime, and stays near its original.
import { describe, expect, test } from 'vitest'
import { prepareForQuantization, quantize } from '../src/api/index.ts'
import { fakeQuantize, type QuantizePlan } from '../src/compress/index.ts'
import { leastSqnr } from './support/quantized.ts'
import { realModels } from './support/real-models.ts'
import { evaluator, runModel } from './support/run-model.ts'

/**
 * Least signal-to-noise ratio over the outputs in decibels, with ranges from the very input that is compared. Low ones
 * have a reason.
 */
const BOUNDS: Readonly<Record<string, number>> = {
  // Two networks in a row: the second is fed with the first one's output and answers with a single number.
  cgan32_nCh3: 12,
  // Random noise is no picture: outputs are scores near zero over a map of cells.
  fastestdet: 17,
  // A map of probabilities, all but zero outside the strokes; squeeze-and-excitation between float activations.
  'ppocr_pp-ocrv3_det_infer': 10,
  // 1,000 probabilities of noise, all near 0.001 and below.
  squeezenet1_f32: 20,
  squeezenet1_fp16: 20,
}

describe.each(realModels().filter(({ heavy }) => !heavy))('$name', ({ name, read, feeds, inputShapes }) => {
  const input = feeds()
  const data = async function* () {
    yield input
  }

  test('works on integers, near its original, and equal to its fake-quantized view to rounding', async () => {
    const model = read()
    const { model: quantized, record, plan } = await quantize(model, { data, inputShapes }, { evaluator })
    const [expected, deployed] = [await runModel(model, input), await runModel(quantized, input)]
    const sqnr = leastSqnr(expected, deployed)
    expect(sqnr, 'signal to noise').toBeGreaterThan(BOUNDS[name] ?? 25)
    expect(record.layers.length).toBeGreaterThan(0)
    expect(record.after.macs).toBe(record.before.macs)
    // Scales and zero points are no weights; what stays in float are biases after products and parameters between.
    expect(record.after.bytes).toBeLessThan(0.35 * record.before.bytes)
    const prepared = await prepareForQuantization(model, { inputShapes }, { evaluator })
    const fake = await runModel(fakeQuantize(prepared.model, plan as QuantizePlan).model, input)
    // Sums are exact in integers and rounded in float: a number at the edge between two integers falls either way.
    // The integer Softmax looks exponentials up in a table.
    expect(leastSqnr(fake, deployed), 'fake beside deployed').toBeGreaterThan(Math.min(sqnr + 3, 38))
  }, 60_000)
})

test.each(realModels().filter(({ name }) => name === 'style_candy'))(
  '$name is of an opset before 10 and has operators that are gone since: refused, naming one',
  async ({ read, feeds }) => {
    const data = async function* () {
      yield feeds()
    }
    await expect(quantize(read(), { data }, { evaluator })).rejects.toThrow(
      "opset 13 or later is needed; it has opset 7 and cannot be lifted: ImageScaler 'scalerPreprocessor' is not an operator of opset 13.",
    )
  },
)
