/** ONNX Runtime for Node. It is an optional peer dependency, so it is loaded when first needed. */
import type { Runtime } from '../api/index.ts'
import { fail } from '../core/index.ts'
import { createEvaluator, createMatrixEngine, type EvaluatorOptions, type OrtRuntime } from '../engine/index.ts'
import { GraphBuilder } from '../graph/index.ts'

let loaded: Promise<OrtRuntime> | undefined

/**
 * Loads `onnxruntime-node` and starts it, once.
 *
 * @throws WhittleError `ENGINE` when it is not installed or its native library does not load.
 */
export function loadOnnxRuntime(): Promise<OrtRuntime> {
  loaded ??= importOnnxRuntime()
  return loaded
}

async function importOnnxRuntime(): Promise<OrtRuntime> {
  try {
    const runtime: OrtRuntime = await import('onnxruntime-node')
    await start(runtime)
    return runtime
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

/** A first session: with it the native library starts, which takes 20 ms and, where it cannot, fails here. */
async function start(runtime: OrtRuntime): Promise<void> {
  const builder = new GraphBuilder('start')
  builder.output(builder.op('Identity', [builder.input('x', 'float32', [1])]), 'float32', [1])
  const session = await createEvaluator(runtime, { threads: 1 }).load(builder.model(), { optimization: 'disabled' })
  await session.release()
}

/**
 * What the library's operations run on, over `onnxruntime-node`.
 *
 * @throws WhittleError `ENGINE` as {@link loadOnnxRuntime}.
 */
export async function createNodeRuntime(options: EvaluatorOptions = {}): Promise<Runtime> {
  const ort = await loadOnnxRuntime()
  return { evaluator: createEvaluator(ort, options), matrices: createMatrixEngine(ort, options) }
}

let shared: Promise<Runtime> | undefined

/** The runtime with default options, made once; what the functions of this door use when none is given. */
export function defaultRuntime(): Promise<Runtime> {
  shared ??= createNodeRuntime()
  shared.catch(() => {
    shared = undefined
  })
  return shared
}
