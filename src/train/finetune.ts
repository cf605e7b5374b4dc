/** Fine-tuning: batches in, better weights out, interruptible at any moment. */
import { checkAborted, fail, yieldToEventLoop } from '../core/index.ts'
import {
  type Dataset,
  evaluateModel,
  modelInputs,
  type Preprocess,
  preprocessDataset,
  resolvePreprocess,
} from '../data/index.ts'
import { type Model, modelHash } from '../graph/index.ts'
import { type Tensor, toFloat32 } from '../tensor/index.ts'
import { type Checkpoint, checkIdentity, decodeCheckpoint, encodeCheckpoint } from './checkpoint.ts'
import { explainNonFinite } from './diagnose.ts'
import {
  type FinetuneOptions,
  type FinetuneRuntime,
  identityOf,
  type ResolvedOptions,
  resolveOptions,
} from './finetune-options.ts'
import type { EvaluationEntry, Finetuned, HistoryEntry } from './finetuned.ts'
import { needsOf } from './losses.ts'
import { unshareBatchNorms } from './parameters.ts'
import { Pipeline, type PreparedRun } from './pipeline.ts'
import { type PreparedNetwork, prepareNetwork, withWeights } from './prepare.ts'
import { type SampleOrder, sampleOrder } from './sample-order.ts'
import { createSampleLoader, type PreparedSamples, type SampleSettings } from './samples.ts'
import { learningRate } from './schedule.ts'
import { createTrainingStep, type StepResult, type TrainingState, type TrainingStep } from './training-step.ts'

/**
 * Trains a model further.
 *
 * Killed at any moment and resumed from its checkpoints, a run ends with bit for bit the weights of an uninterrupted one,
 * on the same machine with the same number of threads. Dropout stays as the file has it (without effect).
 *
 * @throws WhittleError `INVALID_ARGUMENT` for wrong options, a batch larger than the data, a model without a way from
 *   parameters to loss; `INVALID_DATA` for missing labels or labels out of range; `UNSUPPORTED` for operators without
 *   gradient; `NOT_FINITE` naming step and layer when the loss stops being a number (the last checkpoint stays);
 *   `PLAN_MISMATCH` when the checkpoint is of another run; `ABORTED`, after which a run can be resumed.
 */
export async function finetuneNetwork(
  model: Model,
  options: FinetuneOptions,
  runtime: FinetuneRuntime,
): Promise<Finetuned> {
  const began = performance.now()
  const data = await options.data
  const evaluation = await options.evaluation
  const resolved = resolveOptions(options, data)
  const source = unshareBatchNorms(model)
  const { preprocess } = resolvePreprocess(model, options.preprocess)
  const { batch, accumulate, seed } = resolved
  const order = sampleOrder(data.size, { batch, accumulate, seed, limit: options.limit })
  const { sampleShapes } = preprocessDataset(data, preprocess)
  const prepared = await prepareNetwork(source, runtime.observe, { batch, sampleShapes })
  checkAborted(options.signal)
  const teacher = options.teacher && (await prepareNetwork(options.teacher, runtime.observe, { batch, sampleShapes }))
  const training = await createTrainingStep(runtime.evaluator, prepared.model, {
    ...options,
    loss: resolved.loss,
    optimizer: resolved.optimizer,
    clip: resolved.clip,
    teacher,
    types: prepared.types,
  })
  const settings: SampleSettings = {
    seed,
    augmentation: resolved.augmentation,
    preprocess,
    inputs: modelInputs(prepared.model).map((input) => ({
      ...input,
      shape: input.shape && [null, ...input.shape.slice(1)],
    })),
    inputNames: data.inputNames,
    batch,
    classes: resolved.loss.some((term) => needsOf(term) === 'labels') ? training.graph.classes : undefined,
  }
  const loader = await (runtime.loader ? runtime.loader(data, settings) : createSampleLoader(data, settings))
  const steps = options.steps ?? (options.epochs ?? 1) * order.stepsPerEpoch
  const session = { model: source, prepared, training, order, steps, preprocess, data, evaluation, resolved }
  const run = new Run(session, options, runtime)
  const pipeline = new Pipeline(loader, order, options.signal)
  try {
    await run.begin()
    await run.train(pipeline)
    return run.finish(performance.now() - began)
  } finally {
    await pipeline.close()
    await training.release()
  }
}

interface Session {
  readonly model: Model
  readonly prepared: PreparedNetwork
  readonly training: TrainingStep
  readonly order: SampleOrder
  readonly steps: number
  readonly preprocess: Preprocess
  readonly data: Dataset
  readonly evaluation: Dataset | undefined
  readonly resolved: ResolvedOptions
}

type Best = { readonly step: number; readonly evaluation: EvaluationEntry }

/** What a checkpoint keeps beside tensors. */
type SavedProgress = {
  readonly before: EvaluationEntry | null
  readonly best: Best | null
  readonly stale: number
  readonly stopped: boolean
  readonly history: readonly HistoryEntry[]
  readonly sums: Sums
}

/** Sums since the last entry of the history. */
type Sums = { steps: number; loss: number; correct: number; gradientNorm: number }

const noSums = (): Sums => ({ steps: 0, loss: 0, correct: 0, gradientNorm: 0 })

const BEST = 'best/'

/** One run of a fine-tuning: its position, its measurements, its best weights. */
class Run {
  readonly #session: Session
  readonly #options: FinetuneOptions
  readonly #runtime: FinetuneRuntime
  readonly #times = { training: 0, waiting: 0, evaluation: 0, checkpoints: 0 }
  #step = 0
  #trained = 0
  #before: EvaluationEntry | null = null
  #best: Best | null = null
  #bestWeights: ReadonlyMap<string, Tensor> | undefined
  /** Evaluations since the best one. */
  #stale = 0
  #stopped = false
  #history: HistoryEntry[] = []
  #sums = noSums()
  #identity: Checkpoint['identity'] = {}

  constructor(session: Session, options: FinetuneOptions, runtime: FinetuneRuntime) {
    this.#session = session
    this.#options = options
    this.#runtime = runtime
  }

  /** Resumes, or measures where the training starts. */
  async begin(): Promise<void> {
    const { model, data, evaluation, resolved, preprocess, steps } = this.#session
    const { teacher, resume = false } = this.#options
    const store = this.#runtime.checkpoints
    this.#identity = identityOf(this.#options, resolved, {
      model: modelHash(model),
      teacher: teacher ? modelHash(teacher) : null,
      data: `${data.name} (${data.size})`,
      evaluation: evaluation ? `${evaluation.name} (${evaluation.size})` : null,
      preprocess: JSON.parse(JSON.stringify(preprocess)),
      steps,
    })
    const bytes = await store?.read()
    if (store && bytes && !resume)
      fail(
        'INVALID_ARGUMENT',
        `Checkpoints: ${store.where} holds a checkpoint already. Resume it (resume, --resume), delete it, or take another folder.`,
      )
    if (store && bytes) return this.#resume(decodeCheckpoint(bytes, store.where), store.where)
    this.#before = await this.#evaluate()
    if (this.#before) this.#keep({ step: 0, evaluation: this.#before })
    await this.#save()
  }

  #resume({ identity, step, progress, tensors }: Checkpoint, where: string): void {
    checkIdentity(identity, this.#identity, where)
    const saved = progress as SavedProgress
    this.#session.training.restore({ step, tensors })
    this.#step = step
    this.#before = saved.before
    this.#best = saved.best
    this.#stale = saved.stale
    this.#stopped = saved.stopped
    this.#history = [...saved.history]
    this.#sums = { ...saved.sums }
    const best = [...tensors].filter(([name]) => name.startsWith(BEST))
    if (best.length > 0) this.#bestWeights = new Map(best.map(([name, tensor]) => [name.slice(BEST.length), tensor]))
  }

  /** Trains until the last step, or until evaluations stop getting better. */
  async train(pipeline: Pipeline): Promise<void> {
    const { training, steps } = this.#session
    const { signal } = this.#options
    while (this.#step < steps && !this.#stopped) {
      const waited = performance.now()
      const { start, count, samples } = await this.#samples(pipeline)
      checkAborted(signal)
      const ran = performance.now()
      this.#times.waiting += ran - waited
      const state = training.state()
      const rates = Array.from({ length: count }, (_, at) => this.#rate(start + at))
      const result = await training.steps({ inputs: samples.inputs, labels: samples.targets }, rates)
      const spent = performance.now() - ran
      this.#times.training += spent
      pipeline.tookMilliseconds(spent / count)
      await this.#checkFinite(result, state, samples, rates)
      this.#step += count
      this.#trained += count
      this.#add(result)
      this.#report(rates.at(-1)!)
      await this.#pause()
      await yieldToEventLoop()
    }
  }

  /** The next samples; when the run was cancelled, a checkpoint of where it stands. */
  async #samples(pipeline: Pipeline): Promise<PreparedRun> {
    const { signal } = this.#options
    try {
      checkAborted(signal)
      return await pipeline.next(this.#step, (from) => this.#boundary(from))
    } catch (error) {
      // Here a step and what follows it are complete, so that the run can go on from here as if nothing had been.
      if (signal?.aborted) await this.#save()
      throw error
    }
  }

  #rate(step: number): number {
    const { resolved, steps } = this.#session
    return learningRate(resolved.schedule, resolved.lr, step, steps)
  }

  get #evaluateEvery(): number {
    return this.#options.evaluateEvery ?? this.#session.order.stepsPerEpoch
  }

  get #checkpointEvery(): number {
    return this.#options.checkpointEvery ?? this.#session.order.stepsPerEpoch
  }

  /** The next step after `from` at which something else than training happens, or an epoch ends. */
  #boundary(from: number): number {
    const { steps, order } = this.#session
    const every = [order.stepsPerEpoch, this.#evaluateEvery, this.#checkpointEvery]
    return Math.min(steps, ...every.map((count) => (Math.floor(from / count) + 1) * count))
  }

  #add({ losses, correct, gradientNorms }: StepResult): void {
    // One after the other, so that the sums do not depend on how many steps a run took.
    for (const [at, loss] of losses.entries()) {
      this.#sums.steps += 1
      this.#sums.loss += loss
      this.#sums.correct += correct[at]!
      this.#sums.gradientNorm = Math.max(this.#sums.gradientNorm, gradientNorms[at]!)
    }
  }

  /** Evaluates and writes a checkpoint where it is time to. */
  async #pause(): Promise<void> {
    const { order, steps } = this.#session
    const last = this.#step === steps
    const evaluates = this.#step % this.#evaluateEvery === 0 || last
    if (evaluates || this.#step % order.stepsPerEpoch === 0) {
      const evaluation = evaluates ? await this.#evaluate() : null
      this.#note(evaluation)
      if (evaluation) this.#judge(evaluation)
    }
    if (this.#step % this.#checkpointEvery === 0 || last || this.#stopped) await this.#save()
  }

  #note(evaluation: EvaluationEntry | null): void {
    const { steps, loss, correct, gradientNorm } = this.#sums
    const samples = steps * this.#session.training.samplesPerStep
    const entry: HistoryEntry = {
      step: this.#step,
      epoch: this.#step / this.#session.order.stepsPerEpoch,
      loss: loss / steps,
      accuracy: correct / samples,
      lr: this.#rate(this.#step - 1),
      gradientNorm,
      evaluation,
    }
    this.#history.push(entry)
    this.#sums = noSums()
    this.#options.onEntry?.(entry)
  }

  #judge(evaluation: EvaluationEntry): void {
    if (!this.#best || isBetter(evaluation, this.#best.evaluation)) {
      this.#keep({ step: this.#step, evaluation })
      this.#stale = 0
      return
    }
    this.#stale += 1
    this.#stopped = this.#stale >= (this.#options.patience ?? Number.POSITIVE_INFINITY)
  }

  #keep(best: Best): void {
    this.#best = best
    this.#bestWeights = this.#session.training.weights('average')
  }

  #current(): Model {
    return withWeights(this.#session.model, this.#session.training.weights('average'))
  }

  async #evaluate(): Promise<EvaluationEntry | null> {
    const { evaluation, preprocess, resolved } = this.#session
    if (!evaluation) return null
    const began = performance.now()
    const { output, evaluationLimit, signal } = this.#options
    const { top1, top5, loss, samples } = await evaluateModel(this.#runtime.evaluator, this.#current(), evaluation, {
      preprocess,
      output,
      limit: evaluationLimit,
      batch: resolved.batch,
      signal,
    })
    this.#times.evaluation += performance.now() - began
    return { top1, top5, loss, samples }
  }

  async #save(): Promise<void> {
    const store = this.#runtime.checkpoints
    if (!store) return
    const began = performance.now()
    const { tensors } = this.#session.training.state()
    assertFinite(tensors, this.#step)
    const all = new Map(tensors)
    for (const [name, tensor] of this.#bestWeights ?? []) all.set(`${BEST}${name}`, tensor)
    const progress: SavedProgress = {
      before: this.#before,
      best: this.#best,
      stale: this.#stale,
      stopped: this.#stopped,
      history: this.#history,
      sums: this.#sums,
    }
    await store.write(encodeCheckpoint({ identity: this.#identity, step: this.#step, progress, tensors: all }))
    this.#times.checkpoints += performance.now() - began
  }

  #report(lr: number): void {
    const { onProgress } = this.#options
    if (!onProgress) return
    const { training, order, steps } = this.#session
    const { loss, correct, steps: counted } = this.#sums
    const perSecond = this.#samplesPerSecond()
    const secondsLeft = ((steps - this.#step) * training.samplesPerStep) / perSecond
    const accuracy = correct / (counted * training.samplesPerStep)
    const epoch = Math.min(this.#step / order.stepsPerEpoch, steps / order.stepsPerEpoch)
    const best = this.#best ? ` · best ${(100 * this.#best.evaluation.top1).toFixed(2)} %` : ''
    onProgress({
      stage: 'finetune',
      done: this.#step,
      total: steps,
      item: `epoch ${epoch.toFixed(1)} · loss ${(loss / counted).toFixed(3)} · ${(100 * accuracy).toFixed(1)} % · ${perSecond.toFixed(0)} samples/s${best}`,
      values: { loss: loss / counted, accuracy, samplesPerSecond: perSecond, secondsLeft, epoch, lr },
    })
  }

  #samplesPerSecond(): number {
    const seconds = (this.#times.training + this.#times.waiting) / 1000
    return seconds > 0 ? (this.#trained * this.#session.training.samplesPerStep) / seconds : 0
  }

  /** Throws where a loss or a gradient stopped being finite. */
  async #checkFinite(result: StepResult, state: TrainingState, samples: PreparedSamples, rates: readonly number[]) {
    const at = result.losses.findIndex(
      (loss, index) => !Number.isFinite(loss) || !Number.isFinite(result.gradientNorms[index]!),
    )
    if (at < 0) return
    const { training, prepared, order } = this.#session
    const { text, layer, inData } = await explainNonFinite(this.#runtime.evaluator, training, prepared.model.graph, {
      state,
      samples,
      rates: rates.slice(0, at),
    })
    const step = this.#step + at
    const loss = result.losses[at]!
    const what = Number.isFinite(loss) ? 'a gradient is not finite' : `the loss is ${loss}`
    const store = this.#runtime.checkpoints
    const advice = inData
      ? 'Mend or leave out such samples.'
      : `Lower the learning rate (${rates[at]!.toPrecision(3)} at this step), warm up, or clip gradients.`
    fail(
      'NOT_FINITE',
      `Training step ${step} (epoch ${Math.floor(step / order.stepsPerEpoch)}): ${what}. The first value that is not finite is ${text}. ` +
        `${advice}${store ? ` The last good checkpoint stays in ${store.where}.` : ''}`,
      { details: { step, layer, loss: String(loss) } },
    )
  }

  /** The result, with the best weights. */
  finish(total: number): Finetuned {
    const { training, model, order, data, evaluation, resolved, preprocess } = this.#session
    const { selection } = training.graph
    const weights = this.#bestWeights ?? training.weights('average')
    assertFinite(weights, this.#step)
    const warnings = selection.unreached.map((name) => `'${name}' has no influence on the loss and was not trained.`)
    if (this.#best?.step === 0 && this.#step > 0)
      warnings.push('No evaluation was better than the one before the first step; the weights are the given ones.')
    if (this.#stopped && this.#step < this.#session.steps)
      warnings.push(
        `Stopped at step ${this.#step} of ${this.#session.steps}: ${this.#stale} evaluations were no better.`,
      )
    return {
      model: withWeights(model, weights),
      before: this.#before,
      after: this.#best?.evaluation ?? null,
      history: this.#history,
      steps: this.#step,
      bestStep: this.#best?.step ?? this.#step,
      stepsPerEpoch: order.stepsPerEpoch,
      options: resolved,
      preprocess,
      data: data.name,
      evaluationData: evaluation?.name ?? null,
      trained: selection.trainable,
      frozen: selection.frozen,
      unreached: selection.unreached,
      milliseconds: { total, ...this.#times },
      samplesPerSecond: this.#samplesPerSecond(),
      warnings,
    }
  }
}

/** Higher accuracy, or as high a one with a lower loss. */
function isBetter(a: EvaluationEntry, b: EvaluationEntry): boolean {
  return a.top1 > b.top1 || (a.top1 === b.top1 && a.loss < b.loss)
}

/** Weights that overflowed in the very last update would otherwise go into a file. */
function assertFinite(tensors: ReadonlyMap<string, Tensor>, step: number): void {
  for (const [name, tensor] of tensors)
    if (tensor.dtype === 'float32' && !toFloat32(tensor).every(Number.isFinite))
      fail(
        'NOT_FINITE',
        `Training step ${step}: '${name}' is not finite after its update. Lower the learning rate, warm up, or clip gradients.`,
        { details: { step, parameter: name } },
      )
}
