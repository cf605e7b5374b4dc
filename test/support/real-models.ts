/** The public networks in the folder of shared models, each with input that makes it work. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { randomFeeds } from '../../src/engine/index.ts'
import { ensureUniqueNames, type Model, type TensorMap } from '../../src/graph/index.ts'
import { decodeModel } from '../../src/onnx/index.ts'
import { Tensor } from '../../src/tensor/index.ts'
import { maybeShared } from './shared.ts'

/** A network of the collection. */
export interface RealModel {
  /** File name without its ending. */
  readonly name: string
  /** For inputs with open axes. */
  readonly inputShapes: Readonly<Record<string, readonly number[]>>
  /** Whether one run takes tens of billions of multiply–accumulates. */
  readonly heavy: boolean
  read(): Model
  feeds(): TensorMap
}

const INPUT_SHAPES: Readonly<Record<string, Readonly<Record<string, readonly number[]>>>> = {
  'ppocr_pp-ocrv3_det_infer': { x: [1, 3, 64, 96] },
}

/** Dark strokes on white: noise gives a text detector nothing to find, and its output is then all but zero. */
function strokes([, channels = 3, height = 64, width = 96]: readonly number[]): Tensor {
  const data = Float32Array.from({ length: channels * height * width }, (_, i) => {
    const [h, w] = [Math.floor(i / width) % height, i % width]
    return h > 24 && h < 40 && w > 10 && w < width - 10 && w % 8 < 3 ? -2 : 2
  })
  return Tensor.of(data, [1, channels, height, width])
}

/** All networks; where the folder is absent, with that printed, the bundled one alone. */
export function realModels(): RealModel[] {
  const folder = maybeShared('models', 'onnx') ?? fileURLToPath(new URL('../../examples/models', import.meta.url))
  return readdirSync(folder)
    .filter((file) => file.endsWith('.onnx'))
    .map((file) => {
      const name = file.slice(0, -'.onnx'.length)
      const inputShapes = INPUT_SHAPES[name] ?? {}
      const read = (): Model => {
        const model = decodeModel(readFileSync(join(folder, file)))
        ensureUniqueNames(model)
        return model
      }
      const feeds = (): TensorMap =>
        name.startsWith('ppocr') ? { x: strokes(inputShapes.x!) } : randomFeeds(read(), { inputShapes })
      return { name, inputShapes, heavy: name === 'style_candy', read, feeds }
    })
}
