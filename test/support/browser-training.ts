/** Training that the browser test runs both in Node and inside the page. */
import {
  type CheckpointStore,
  cifar10Dataset,
  createTrainingStep,
  type Evaluator,
  type FinetuneOptions,
  finetune,
  GraphBuilder,
  initialize,
  type Model,
  memorySource,
  observeShapes,
  type Runtime,
  Tensor,
  toFloat32,
} from '../../src/web/index.ts'

const BATCH = 16

/** Twice Conv 3×3 → BatchNormalization → Relu → MaxPool, then GlobalAveragePool → Gemm, for CIFAR-10's pictures. */
export function trainableNetwork(): Model {
  const b = new GraphBuilder('tiny')
  const filled = (name: string, value: number, ...shape: number[]): string => {
    const size = shape.reduce((product, extent) => product * extent, 1)
    return b.constant(Tensor.of(new Float32Array(size).fill(value), shape), name)
  }
  const block = (name: string, from: string, channels: number, out: number): string => {
    const y = b.op('Conv', [from, filled(`${name}.weight`, 0, out, channels, 3, 3)], { pads: [1, 1, 1, 1] })
    const ones = [filled(`${name}.scale`, 1, out), filled(`${name}.shift`, 0, out)]
    const statistics = [filled(`${name}.mean`, 0, out), filled(`${name}.variance`, 1, out)]
    const normalized = b.op('BatchNormalization', [y, ...ones, ...statistics])
    return b.op('MaxPool', [b.op('Relu', [normalized])], { kernel_shape: [2, 2], strides: [2, 2] })
  }
  const x = b.input('input', 'float32', ['batch', 3, 32, 32])
  const pooled = b.op('GlobalAveragePool', [block('two', block('one', x, 3, 8), 8, 16)])
  const head = [filled('head.weight', 0, 10, 16), filled('head.bias', 0, 10)]
  b.op('Gemm', [b.op('Flatten', [pooled], { axis: 1 }), ...head], { transB: 1 }, 'logits')
  b.output('logits', 'float32', ['batch', 10])
  return initialize(b.model(), { seed: 3 })
}

/** Weights and statistics one after the other. */
function flat(weights: ReadonlyMap<string, Tensor>): number[] {
  return [...weights.values()].flatMap((tensor) => [...toFloat32(tensor)])
}

/** What {@link trainSteps} computes. */
export interface TrainedSteps {
  /** Weights after the first step and after the last one. */
  readonly first: number[]
  readonly last: number[]
  readonly losses: number[]
}

/**
 * Some steps on the bundled pictures: cross entropy, SGD with momentum and weight decay.
 *
 * @param bytes of a CIFAR-10 file.
 * @param change relative change of the weights that training starts from, up and down in turn.
 */
export async function trainSteps(
  evaluator: Evaluator,
  bytes: Uint8Array,
  { steps = 8, change = 0 }: { readonly steps?: number; readonly change?: number } = {},
): Promise<TrainedSteps> {
  const model = trainableNetwork()
  const changed = (values: Float32Array): Float32Array =>
    values.map((value, i) => value * (1 + (i % 2 === 0 ? change : -change)))
  for (const [name, tensor] of model.graph.initializers)
    model.graph.initializers.set(name, Tensor.of(changed(toFloat32(tensor)), tensor.shape))
  const training = await createTrainingStep(evaluator, model, {
    types: await observeShapes(evaluator, model, { batch: BATCH }),
    loss: [{ kind: 'cross-entropy' }],
    optimizer: { kind: 'sgd', momentum: 0.9, weightDecay: 5e-4 },
  })
  const data = cifar10Dataset([memorySource('data_batch_1.bin', bytes)])
  const losses: number[] = []
  let first: number[] = []
  for (let step = 0; step < steps; step++) {
    const { inputs, labels } = await data.read!(Int32Array.from({ length: BATCH }, (_, i) => BATCH * step + i))
    const pictures = toFloat32(inputs[0]!).map((value) => value / 128 - 1)
    losses.push((await training.step([Tensor.of(pictures, inputs[0]!.shape)], labels, 0.02)).loss)
    if (step === 0) first = flat(training.weights())
  }
  const last = flat(training.weights())
  await training.release()
  return { first, last, losses }
}

/** What {@link trainWhole} computes. */
export interface TrainedWhole {
  readonly weights: number[]
  /** Accuracy before and after. */
  readonly top1: readonly number[]
  /** Steps done, at each report. */
  readonly progress: number[]
  /** Code of the error that cancelling led to, and weights of the run that went on from there. */
  readonly cancelled: string
  readonly resumed: number[]
}

/** `finetune` in one go, and cancelled and resumed. @param checkpoints an empty store. */
export async function trainWhole(
  runtime: Pick<Runtime, 'evaluator'>,
  bytes: Uint8Array,
  checkpoints: CheckpointStore,
): Promise<TrainedWhole> {
  const progress: number[] = []
  const options: FinetuneOptions = {
    data: cifar10Dataset([memorySource('training', bytes.subarray(0, 48 * 3073))]),
    evaluation: cifar10Dataset([memorySource('evaluation', bytes.subarray(0, 48 * 3073))]),
    preprocess: 'cifar10',
    batch: BATCH,
    epochs: 5,
    augmentation: { crop: 4, flip: true },
    optimizer: 'adam',
    lr: 0.02,
  }
  const model = trainableNetwork()
  const whole = await finetune(model, { ...options, onProgress: ({ done }) => progress.push(done) }, runtime)
  const top1 = whole.record.measured.find(({ metric }) => metric === 'top1')!
  const controller = new AbortController()
  const cancel = ({ done }: { done: number }): void => {
    if (done >= 4) controller.abort()
  }
  let cancelled = ''
  try {
    await finetune(
      model,
      { ...options, signal: controller.signal, onProgress: cancel },
      { evaluator: runtime.evaluator, checkpoints },
    )
  } catch (error) {
    cancelled = String((error as { code?: string }).code)
  }
  const resumed = await finetune(model, { ...options, resume: true }, { evaluator: runtime.evaluator, checkpoints })
  return {
    weights: flat(whole.model.graph.initializers),
    top1: [top1.before!, top1.after!],
    progress,
    cancelled,
    resumed: flat(resumed.model.graph.initializers),
  }
}
