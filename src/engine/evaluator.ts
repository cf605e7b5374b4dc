/** The {@link Evaluator} over an injected ONNX Runtime. */
import { fail } from '../core/index.ts'
import type { Evaluator, Executable, LoadOptions, TensorMap, ValueInfo, ValueType } from '../graph/index.ts'
import { encodeModelWithDetachedWeights } from '../onnx/index.ts'
import type { Tensor } from '../tensor/index.ts'
import { engineError } from './engine-error.ts'
import type { OrtRuntime, OrtSession, OrtSessionOptions, OrtTensor } from './ort.ts'
import { runExclusively } from './queue.ts'
import { fromOrtTensor, maybeEngineDType, toOrtTensor } from './tensors.ts'

/**
 * Weights from this size on are handed to the runtime beside the model. Inside it they would be copied once by us and
 * once by its protobuf parser: a 400 MB model takes a third of the time and half the memory this way.
 */
const DETACHED_BYTES = 64 * 1024

/** Runs do not take over what the session was told about printing. */
const RUN_OPTIONS = { logSeverityLevel: 4 } as const

/** Options of {@link createEvaluator}. */
export interface EvaluatorOptions {
  /**
   * Threads per operator; default: the runtime's choice, one per core. `onnxruntime-web` ignores it: set its
   * `env.wasm.numThreads` before the first session.
   */
  readonly threads?: number | undefined
  /** Execution providers in order of preference; default: the runtime's, which is the CPU. */
  readonly executionProviders?: readonly unknown[] | undefined
  /** Further session options, passed on as they are. */
  readonly sessionOptions?: Readonly<OrtSessionOptions & Record<string, unknown>> | undefined
}

/**
 * An evaluator over `onnxruntime-node`, `onnxruntime-web` or anything of the same form.
 *
 * Sessions and runs of one runtime never overlap, also across evaluators. Memory patterns are off: they cost a third
 * more memory and bring no time.
 *
 * @example
 * import * as ort from 'onnxruntime-node'
 * const evaluator = createEvaluator(ort, { threads: 2 })
 */
export function createEvaluator(runtime: OrtRuntime, options: EvaluatorOptions = {}): Evaluator {
  const { threads } = options
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1))
    fail('INVALID_ARGUMENT', `Option threads: must be a whole number of at least 1; got ${threads}.`)
  return {
    load: (model, loadOptions) => {
      const sessionOptions = sessionOptionsFor(options, loadOptions)
      return runExclusively(runtime, async () => {
        let session: OrtSession
        try {
          const { bytes, weights } = encodeModelWithDetachedWeights(model, DETACHED_BYTES)
          const externalData = weights.map(({ location, tensor }) => ({ path: location, data: tensor.bytes }))
          const detached = externalData.length > 0 ? { externalData } : {}
          session = await runtime.InferenceSession.create(bytes, { ...detached, ...sessionOptions } as never)
        } catch (error) {
          throw engineError('load the model', error)
        }
        return new OrtExecutable(runtime, session, model.graph.inputs)
      })
    },
  }
}

function sessionOptionsFor(options: EvaluatorOptions, loadOptions: LoadOptions | undefined): OrtSessionOptions {
  return {
    graphOptimizationLevel: loadOptions?.optimization ?? 'all',
    enableMemPattern: false,
    // Fatal only: what fails is thrown, so that the runtime has nothing to print.
    logSeverityLevel: 4,
    ...(options.threads === undefined ? {} : { intraOpNumThreads: options.threads }),
    ...(options.executionProviders === undefined ? {} : { executionProviders: options.executionProviders }),
    ...options.sessionOptions,
  }
}

class OrtExecutable implements Executable {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  readonly outputTypes: ReadonlyMap<string, ValueType> | undefined
  readonly #runtime: OrtRuntime
  readonly #inputs: readonly ValueInfo[]
  #session: OrtSession | undefined

  constructor(runtime: OrtRuntime, session: OrtSession, inputs: readonly ValueInfo[]) {
    this.#runtime = runtime
    this.#session = session
    this.inputNames = [...session.inputNames]
    this.outputNames = [...session.outputNames]
    // Inputs that only give an initializer another name are none of the session's.
    this.#inputs = inputs.filter((input) => this.inputNames.includes(input.name))
    this.outputTypes = outputTypesOf(session)
  }

  async run(feeds: TensorMap, outputs: readonly string[] = this.outputNames): Promise<Record<string, Tensor>> {
    const session = this.#session
    if (!session) fail('INVALID_ARGUMENT', 'This executable was released; load the model again to run it.')
    checkFeeds(this.#inputs, feeds)
    for (const name of outputs)
      if (!this.outputNames.includes(name))
        fail('NOT_FOUND', `Output '${name}': the model has no such output; it has ${quoted(this.outputNames)}.`)
    const ortFeeds: Record<string, OrtTensor> = {}
    for (const { name } of this.#inputs) ortFeeds[name] = toOrtTensor(this.#runtime, feeds[name]!, name)
    return runExclusively(this.#runtime, async () => {
      try {
        const results = await session.run(ortFeeds, [...outputs], RUN_OPTIONS)
        const tensors: Record<string, Tensor> = {}
        for (const name of outputs) tensors[name] = await fromOrtTensor(results[name]!, name)
        return tensors
      } catch (error) {
        throw engineError('run the model', error)
      }
    })
  }

  async release(): Promise<void> {
    const session = this.#session
    this.#session = undefined
    if (session) await runExclusively(this.#runtime, () => session.release())
  }
}

function outputTypesOf(session: OrtSession): ReadonlyMap<string, ValueType> | undefined {
  if (!session.outputMetadata) return undefined
  const types = new Map<string, ValueType>()
  for (const { name, isTensor, type, shape } of session.outputMetadata) {
    if (!isTensor) types.set(name, { kind: 'opaque', encoded: new Uint8Array() })
    else
      types.set(name, {
        kind: 'tensor',
        dtype: maybeEngineDType(type),
        // The runtime says [] both for a scalar and for a value of unknown rank.
        shape: shape && shape.length > 0 ? shape.map(knownExtent) : undefined,
      })
  }
  return types
}

/** A length, or `null` for a symbolic or unknown axis, which the web runtime reports as 2³²−1. */
function knownExtent(extent: number | string): number | null {
  return typeof extent === 'number' && extent < 0xffffffff ? extent : null
}

function quoted(names: readonly string[]): string {
  return names.length === 0 ? 'none' : names.map((name) => `'${name}'`).join(', ')
}

/**
 * Checks feeds against a model's declared inputs.
 *
 * @throws WhittleError `INVALID_ARGUMENT` naming missing or unknown inputs, `SHAPE_MISMATCH` for wrong types or shapes.
 */
function checkFeeds(inputs: readonly ValueInfo[], feeds: TensorMap): void {
  const names = inputs.map((input) => input.name)
  const missing = names.filter((name) => feeds[name] === undefined)
  if (missing.length > 0)
    fail('INVALID_ARGUMENT', `Feeds: each input needs a tensor; ${quoted(missing)} got none.`, { details: { missing } })
  const extra = Object.keys(feeds).filter((name) => !names.includes(name))
  if (extra.length > 0)
    fail('INVALID_ARGUMENT', `Feeds: the model has no input ${quoted(extra)}; its inputs are ${quoted(names)}.`)
  for (const { name, type } of inputs) {
    if (type?.kind !== 'tensor') continue
    const { dtype, shape } = feeds[name]!
    const fits =
      (type.dtype === undefined || type.dtype === dtype) &&
      (type.shape === undefined ||
        (type.shape.length === shape.length &&
          type.shape.every((extent, axis) => typeof extent !== 'number' || extent <= 0 || extent === shape[axis])))
    if (!fits) {
      const expected = type.shape ? ` [${type.shape.map((extent) => extent ?? '?').join(', ')}]` : ''
      fail(
        'SHAPE_MISMATCH',
        `Input '${name}': must be ${type.dtype ?? 'a tensor'}${expected}; got ${dtype} [${shape.join(', ')}].`,
      )
    }
  }
}
