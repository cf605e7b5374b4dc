import { readFileSync } from 'node:fs'
import { replay } from '../api/index.ts'
import { parseDecomposeInfo } from '../compress/index.ts'
import { checkWritable, loadModel, recordPath, withFileErrors } from '../node/index.ts'
import { formatRecord } from '../report/index.ts'
import { defineCommand } from './command.ts'
import { INPUT_SHAPE_OPTION, readInputShapes, runtimeFor } from './model-options.ts'
import { writeResult } from './write-result.ts'

/** `whittle replay`. */
export const command = defineCommand({
  name: 'replay',
  summary: 'Rebuilds a decomposed structure on a fresh model and loads the saved weights',
  usage: 'MODEL --info FILE -o OUT',
  models: [1, 1],
  options: {
    info: { kind: 'text', value: 'FILE', about: 'decompose_info.json, AMCT’s or ours', required: true },
    output: { kind: 'text', short: 'o', value: 'OUT', about: 'the rebuilt model', required: true },
    weights: {
      kind: 'text',
      value: 'FILE',
      about: 'an ONNX model with the saved weights (default: decompose the model’s own)',
    },
    ...INPUT_SHAPE_OPTION,
  },
  examples: [
    ['whittle replay model.onnx --info decompose_info.json -o again.onnx', 'the same structure on retrained weights'],
    [
      'whittle replay model.onnx --info decompose_info.json --weights small.onnx -o again.onnx',
      'with the weights of an earlier result',
    ],
  ],
  async run({ models: [path], options, terminal }) {
    const { output, info: infoPath, weights: weightsPath } = options
    for (const target of [output, recordPath(output)]) checkWritable(target)
    const info = parseDecomposeInfo(withFileErrors('read', infoPath, () => readFileSync(infoPath, 'utf8')))
    const model = await loadModel(path!, terminal)
    const saved = weightsPath === undefined ? undefined : await loadModel(weightsPath, terminal)
    const result = await replay(
      model,
      info,
      {
        weights: saved?.graph.initializers,
        inputShapes: readInputShapes(options['input-shape'], model),
        signal: terminal.signal,
        onProgress: terminal.onProgress,
      },
      await runtimeFor(options),
    )
    await writeResult(output, result, terminal.signal)
    const { before, after, layers, skips, warnings } = result.record
    terminal.print({ output, record: recordPath(output), before, after, layers, skips, warnings }, () =>
      [formatRecord(result.record), `Wrote ${output}, ${recordPath(output)}.`].join('\n\n'),
    )
    return 0
  },
})
