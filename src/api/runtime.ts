/** What every operation of the library runs on: the injected engine in its two roles. */
import type { MatrixEngine } from '../decompose/index.ts'
import type { Evaluator } from '../graph/index.ts'

/** An evaluator of graphs and a multiplier of matrices, both over one ONNX Runtime. */
export interface Runtime {
  readonly evaluator: Evaluator
  readonly matrices: MatrixEngine
}
