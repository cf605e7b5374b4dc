/** The port to whatever runs graphs. Implemented over ONNX Runtime in `engine/`; algorithms see only this. */
import type { Tensor } from '../tensor/index.ts'
import type { Model, ValueType } from './model.ts'

/** Named tensors: what goes into a run and what comes out. */
export type TensorMap = Readonly<Record<string, Tensor>>

/** Options of {@link Evaluator.load}. */
export interface LoadOptions {
  /**
   * How much the runtime may rewrite the graph; default `'all'`. `'disabled'` compares models node by node and is
   * fastest to create.
   */
  readonly optimization?: 'disabled' | 'basic' | 'extended' | 'all' | undefined
}

/** A model made ready to run. */
export interface Executable {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  /**
   * What the runtime inferred about the outputs without running, by name; `undefined` when it does not tell. Shapes
   * are given only as far as they are certain.
   */
  readonly outputTypes?: ReadonlyMap<string, ValueType> | undefined
  /** Runs once. Feeds are not written to; results are the caller's. Runs of one evaluator do not overlap. */
  run(feeds: TensorMap, outputs?: readonly string[]): Promise<Record<string, Tensor>>
  /** Frees the session; the executable is of no use afterwards. */
  release(): Promise<void>
}

/** Runs models. */
export interface Evaluator {
  /** @throws WhittleError `ENGINE` with the runtime's reason when it refuses the model. */
  load(model: Model, options?: LoadOptions): Promise<Executable>
}
