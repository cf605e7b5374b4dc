/** ONNX Runtime for Node. It is an optional peer dependency, so it is loaded when first needed. */
import { fail } from '../core/index.ts'
import type { MatrixEngine } from '../decompose/index.ts'
import { createEvaluator, createMatrixEngine, type EvaluatorOptions, type OrtRuntime } from '../engine/index.ts'
import type { Evaluator } from '../graph/index.ts'

/** What runs models and multiplies matrices. */
export interface NodeEngine {
  readonly evaluator: Evaluator
  readonly matrices: MatrixEngine
}

let loaded: Promise<OrtRuntime> | undefined

/**
 * Loads `onnxruntime-node`, once.
 *
 * @throws WhittleError `ENGINE` when it is not installed or its native library does not load.
 */
export function loadRuntime(): Promise<OrtRuntime> {
  loaded ??= importRuntime()
  return loaded
}

async function importRuntime(): Promise<OrtRuntime> {
  try {
    return await import('onnxruntime-node')
  } catch (cause) {
    loaded = undefined
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'ERR_MODULE_NOT_FOUND' && message.includes("'onnxruntime-node'"))
      return fail(
        'ENGINE',
        "Package 'onnxruntime-node' is needed to run models and is not installed. Run: npm install onnxruntime-node",
        { cause },
      )
    return fail('ENGINE', `Package 'onnxruntime-node' could not be loaded: ${message}`, { cause })
  }
}

/**
 * An evaluator and a matrix engine over `onnxruntime-node`.
 *
 * @throws WhittleError `ENGINE` as {@link loadRuntime}.
 */
export async function createNodeEngine(options: EvaluatorOptions = {}): Promise<NodeEngine> {
  const evaluator = createEvaluator(await loadRuntime(), options)
  return { evaluator, matrices: createMatrixEngine(evaluator) }
}
