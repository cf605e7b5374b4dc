import { describe, expect, it } from 'vitest'
import { realModels } from '../../../test/support/real-models.ts'
import { evaluator, runModel } from '../../../test/support/run-model.ts'
import { relativeError } from '../../../test/support/tensors.ts'
import { checkModel } from '../check.ts'
import { SIMPLIFY_PASSES, simplify } from './simplify.ts'

describe('every pass leaves the function of real networks unchanged', () => {
  it.each(realModels())('$name', async ({ read, feeds, heavy }) => {
    const original = read()
    const input = feeds()
    let expected = await runModel(original, input)
    expect(checkModel(original)).toEqual([])
    let model = original
    for (const pass of SIMPLIFY_PASSES) {
      const result = await pass.run(model, { evaluator })
      expect(checkModel(result.model), pass.name).toEqual([])
      const again = await pass.run(result.model, { evaluator })
      expect(again.model.graph.nodes.length, `${pass.name} again`).toBe(result.model.graph.nodes.length)
      expect(again.model.graph.initializers.size, `${pass.name} again`).toBe(result.model.graph.initializers.size)
      model = result.model
      if (heavy ? pass !== SIMPLIFY_PASSES.at(-1) : result.changes.length === 0) continue
      const actual = await runModel(model, input)
      // All but folding batch normalisation rearranges no arithmetic, in float16 as well.
      const tolerance = pass.name === 'fold-batch-norm' ? 1e-5 : 1e-6
      for (const [name, tensor] of Object.entries(expected))
        expect(relativeError(tensor, actual[name]!), `${pass.name}: ${name}`).toBeLessThanOrEqual(tolerance)
      expected = actual
    }
    expect(model.graph.inputs.map(({ name }) => name)).toEqual(
      original.graph.inputs.map(({ name }) => name).filter((name) => !original.graph.initializers.has(name)),
    )
    expect(model.graph.outputs).toEqual(original.graph.outputs)
  })
})

describe('simplify', () => {
  const named = new Map(realModels().map((entry) => [entry.name, entry]))
  /** Nodes left of real networks: what an engineer would expect to see. */
  const expectations: [string, { nodes: number; opset: number; gone: string[] }][] = [
    [
      'resnet20-cifar10',
      { nodes: 56, opset: 17, gone: ['BatchNormalization', 'Constant', 'ConstantOfShape', 'Shape'] },
    ],
    ['ultraface_rfb_320', { nodes: 130, opset: 17, gone: ['BatchNormalization', 'Constant', 'Shape', 'Gather'] }],
    ['mnist_cntk', { nodes: 9, opset: 17, gone: [] }],
    ['squeezenet1_fp16', { nodes: 68, opset: 17, gone: ['Dropout'] }],
    ['ppocr_pp-ocrv3_det_infer', { nodes: 169, opset: 17, gone: ['BatchNormalization', 'Constant'] }],
    ['style_candy', { nodes: 59, opset: 7, gone: [] }],
  ]
  it.each(expectations.filter(([name]) => named.has(name)))('reduces %s', async (name, { nodes, opset, gone }) => {
    const { model } = await simplify(named.get(name)!.read(), { evaluator })
    expect(model.opsets.get('')).toBe(opset)
    expect(model.graph.nodes.length).toBeLessThanOrEqual(nodes)
    const operators = new Set(model.graph.nodes.map((node) => node.opType))
    for (const operator of gone) expect(operators).not.toContain(operator)
  })
})
