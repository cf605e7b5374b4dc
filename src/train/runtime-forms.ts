/** What a runtime lacks that training steps are made of, found by asking it. */
import { lowerTrainingBatchNorm, type Typed } from '../autodiff/index.ts'
import { type Evaluator, float, GraphBuilder, type Model } from '../graph/index.ts'
import { Tensor, toFloat32 } from '../tensor/index.ts'
import type { StepOptions } from './step-options.ts'

const known = new WeakMap<Evaluator, Promise<boolean>>()

/**
 * Whether the runtime runs BatchNormalization in training mode. ONNX Runtime's CPU does, in Node and in WebAssembly; its
 * WebGPU provider takes the node and then refuses to run it.
 */
function runsTrainingBatchNorm(evaluator: Evaluator): Promise<boolean> {
  let answer = known.get(evaluator)
  if (!answer) {
    answer = askForTrainingBatchNorm(evaluator)
    known.set(evaluator, answer)
  }
  return answer
}

async function askForTrainingBatchNorm(evaluator: Evaluator): Promise<boolean> {
  const b = new GraphBuilder('training-batch-norm')
  const vector = (value: number): string => b.constant(Tensor.of(new Float32Array(2).fill(value), [2]))
  const x = b.input('x', 'float32', [4, 2, 1, 1])
  const perChannel = [b.input('mean', 'float32', [2]), b.input('variance', 'float32', [2])]
  const attributes = { training_mode: 1, momentum: float(0) }
  const outputs = ['y', 'batch_mean', 'batch_variance']
  b.ops('BatchNormalization', [x, vector(1), vector(0), ...perChannel], attributes, outputs)
  for (const name of outputs) b.output(name, 'float32')
  try {
    const executable = await evaluator.load(b.model(18), { optimization: 'basic' })
    try {
      const zeros = Tensor.of(new Float32Array(2), [2])
      const pictures = Tensor.of(Float32Array.of(1, 5, 2, 5, 3, 5, 6, 9), [4, 2, 1, 1])
      const { batch_mean } = await executable.run({ x: pictures, mean: zeros, variance: zeros })
      const [first = 0, second = 0] = toFloat32(batch_mean!)
      return Math.abs(first - 3) < 1e-4 && Math.abs(second - 6) < 1e-4
    } finally {
      await executable.release()
    }
  } catch {
    return false
  }
}

/**
 * The rewriting of a pass that a runtime needs: what was asked for, and before it batch statistics by reductions where
 * there is no other form.
 *
 * @param model that is trained.
 */
export async function loweringFor(
  evaluator: Evaluator,
  model: Model,
  { lower, batchNorm }: Pick<StepOptions, 'lower' | 'batchNorm'>,
): Promise<StepOptions['lower']> {
  const learns = batchNorm !== 'running' && model.graph.nodes.some((node) => node.opType === 'BatchNormalization')
  if (!learns || (await runsTrainingBatchNorm(evaluator))) return lower
  return (pass: Model, types: ReadonlyMap<string, Typed>) => {
    const lowered = lowerTrainingBatchNorm(pass, types)
    return lower ? lower(lowered, types) : lowered
  }
}
