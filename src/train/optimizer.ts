/**
 * Optimizers as pieces of graph, each exactly PyTorch's formula (torch.optim, version 2). What depends on the step alone
 * (learning rate, bias corrections) comes in as scalars, so that one graph serves every step.
 *
 * Sources: Sutskever et al., "On the importance of initialization and momentum", 2013 (SGD, Nesterov); Kingma, Ba,
 * "Adam", 2015; Loshchilov, Hutter, "Decoupled Weight Decay Regularization", 2019 (AdamW); Hinton, lecture 6e (RMSProp).
 */
import type { Emitter } from '../autodiff/index.ts'
import { fail } from '../core/index.ts'

/** An optimizer and its settings; `lr` is the base of the schedule. */
export type Optimizer =
  | {
      readonly kind: 'sgd'
      /** Default 0.01. */
      readonly lr?: number
      /** Default 0.9. */
      readonly momentum?: number
      /** Default 0. */
      readonly dampening?: number
      readonly nesterov?: boolean
      /** Added to the gradient times the weight; default 0. */
      readonly weightDecay?: number
    }
  | {
      readonly kind: 'adam' | 'adamw'
      /** Default 0.001. */
      readonly lr?: number
      /** Default [0.9, 0.999]. */
      readonly betas?: readonly [number, number]
      /** Default 1e-8. */
      readonly epsilon?: number
      /** Default 0; for `adamw`, where it shrinks the weight by lr times it, 0.01. */
      readonly weightDecay?: number
    }
  | {
      readonly kind: 'rmsprop'
      /** Default 0.01. */
      readonly lr?: number
      /** Default 0.99. */
      readonly alpha?: number
      /** Default 1e-8. */
      readonly epsilon?: number
      /** Default 0. */
      readonly momentum?: number
      /** Default 0. */
      readonly weightDecay?: number
    }

/** The settings of one parameter. */
export interface ParameterSettings {
  /** As in the optimizer, after exclusions and groups. */
  readonly weightDecay: number
  /** Factor on the learning rate. */
  readonly lrScale: number
}

const KINDS = ['sgd', 'adam', 'adamw', 'rmsprop'] as const

/** Checks an optimizer. @throws WhittleError `INVALID_ARGUMENT` naming the setting. */
export function checkOptimizer(optimizer: Optimizer): void {
  const { kind } = optimizer
  if (!KINDS.includes(kind))
    fail('INVALID_ARGUMENT', `Optimizer: must be one of ${KINDS.join(', ')}; got '${String(kind)}'.`)
  const atLeast = (name: string, value: number | undefined, low: number, below = Number.POSITIVE_INFINITY): void => {
    if (value !== undefined && !(value >= low && value < below))
      fail(
        'INVALID_ARGUMENT',
        `Optimizer '${kind}': ${name} must be ${below === Number.POSITIVE_INFINITY ? `a number of at least ${low}` : `at least ${low} and below ${below}`}; got ${value}.`,
      )
  }
  atLeast('lr', optimizer.lr, 0)
  atLeast('weightDecay', optimizer.weightDecay, 0)
  if ('momentum' in optimizer) atLeast('momentum', optimizer.momentum, 0, 1)
  if ('alpha' in optimizer) atLeast('alpha', optimizer.alpha, 0, 1)
  if ('betas' in optimizer) for (const beta of optimizer.betas ?? []) atLeast('betas', beta, 0, 1)
  if (kind === 'sgd' && optimizer.nesterov && (!(momentumOf(optimizer) > 0) || (optimizer.dampening ?? 0) !== 0))
    fail('INVALID_ARGUMENT', "Optimizer 'sgd': nesterov needs a momentum above 0 and no dampening.")
}

/** The learning rate that the schedule scales. */
export function baseLearningRate({ kind, lr }: Optimizer): number {
  return lr ?? (kind === 'adam' || kind === 'adamw' ? 0.001 : 0.01)
}

/** The weight decay of parameters that no group and no exclusion concerns. */
export function defaultWeightDecay({ kind, weightDecay }: Optimizer): number {
  return weightDecay ?? (kind === 'adamw' ? 0.01 : 0)
}

function momentumOf(optimizer: Optimizer): number {
  if (optimizer.kind === 'sgd') return optimizer.momentum ?? 0.9
  return optimizer.kind === 'rmsprop' ? (optimizer.momentum ?? 0) : 0
}

/** Names of the tensors that are kept per parameter, each of its shape and zero at the start. */
export function stateNames(optimizer: Optimizer): readonly string[] {
  switch (optimizer.kind) {
    case 'sgd':
      return momentumOf(optimizer) > 0 ? ['momentum'] : []
    case 'adam':
    case 'adamw':
      return ['mean', 'square']
    case 'rmsprop':
      return momentumOf(optimizer) > 0 ? ['square', 'momentum'] : ['square']
  }
}

/** Names of the scalars that {@link emitUpdate} reads for one factor on the learning rate. */
export const SCALARS = ['rate', 'decay', 'root', 'fresh'] as const

/** A scalar's role. */
export type ScalarName = (typeof SCALARS)[number]

/**
 * The scalars of a step, in double precision as PyTorch has them.
 *
 * @param step from 0. @param lr the step's learning rate.
 */
export function scalarsAt(
  optimizer: Optimizer,
  settings: ParameterSettings,
  step: number,
  lr: number,
): Readonly<Record<ScalarName, number>> {
  const rate = lr * settings.lrScale
  const adam = optimizer.kind === 'adam' || optimizer.kind === 'adamw'
  const [beta1, beta2] = adam ? betasOf(optimizer) : [0, 0]
  const dampening = optimizer.kind === 'sgd' ? (optimizer.dampening ?? 0) : 0
  return {
    rate: adam ? rate / (1 - beta1 ** (step + 1)) : rate,
    decay: 1 - rate * settings.weightDecay,
    root: adam ? Math.sqrt(1 - beta2 ** (step + 1)) : 1,
    // The first momentum is the gradient itself, without dampening.
    fresh: step === 0 ? 1 : 1 - dampening,
  }
}

function betasOf(optimizer: Optimizer): readonly [number, number] {
  return 'betas' in optimizer && optimizer.betas ? optimizer.betas : [0.9, 0.999]
}

/** One parameter's place in the graph. */
export interface UpdateInputs {
  readonly parameter: string
  readonly gradient: string
  /** By {@link stateNames}. */
  readonly state: readonly string[]
  readonly settings: ParameterSettings
  /** Values of the step's scalars. */
  readonly scalars: Readonly<Record<ScalarName, string>>
}

/**
 * Emits one parameter's update.
 *
 * @returns the new parameter, and the new state in the order of {@link stateNames}.
 */
export function emitUpdate(
  emit: Emitter,
  optimizer: Optimizer,
  inputs: UpdateInputs,
): { parameter: string; state: string[] } {
  const { settings, parameter } = inputs
  const decoupled = optimizer.kind === 'adamw'
  const gradient =
    settings.weightDecay > 0 && !decoupled
      ? emit.add(inputs.gradient, emit.scale(parameter, settings.weightDecay))
      : inputs.gradient
  switch (optimizer.kind) {
    case 'sgd':
      return sgd(emit, optimizer, { ...inputs, gradient })
    case 'rmsprop':
      return rmsprop(emit, optimizer, { ...inputs, gradient })
    default: {
      const shrunk = decoupled && settings.weightDecay > 0 ? emit.mul(parameter, inputs.scalars.decay) : parameter
      return adam(emit, optimizer, { ...inputs, gradient, parameter: shrunk })
    }
  }
}

type Updated = { parameter: string; state: string[] }

function descend(emit: Emitter, parameter: string, direction: string, rate: string): string {
  return emit.sub(parameter, emit.mul(direction, rate))
}

function sgd(emit: Emitter, optimizer: Extract<Optimizer, { kind: 'sgd' }>, inputs: UpdateInputs): Updated {
  const { parameter, gradient, state, scalars } = inputs
  const momentum = momentumOf(optimizer)
  if (momentum === 0) return { parameter: descend(emit, parameter, gradient, scalars.rate), state: [] }
  const added = (optimizer.dampening ?? 0) === 0 ? gradient : emit.mul(gradient, scalars.fresh)
  const buffer = emit.add(emit.scale(state[0]!, momentum), added)
  const direction = optimizer.nesterov ? emit.add(gradient, emit.scale(buffer, momentum)) : buffer
  return { parameter: descend(emit, parameter, direction, scalars.rate), state: [buffer] }
}

/** `β·old + (1 − β)·x` */
function decayTo(emit: Emitter, old: string, x: string, beta: number): string {
  return emit.add(emit.scale(old, beta), emit.scale(x, 1 - beta))
}

function adam(emit: Emitter, optimizer: Optimizer, inputs: UpdateInputs): Updated {
  const { parameter, gradient, state, scalars } = inputs
  const [beta1, beta2] = betasOf(optimizer)
  const epsilon = 'epsilon' in optimizer ? (optimizer.epsilon ?? 1e-8) : 1e-8
  const mean = decayTo(emit, state[0]!, gradient, beta1)
  const square = decayTo(emit, state[1]!, emit.mul(gradient, gradient), beta2)
  const root = emit.div(emit.unary('Sqrt', square), scalars.root)
  const direction = emit.div(mean, emit.add(root, emit.number(epsilon, root)))
  return { parameter: descend(emit, parameter, direction, scalars.rate), state: [mean, square] }
}

function rmsprop(emit: Emitter, optimizer: Extract<Optimizer, { kind: 'rmsprop' }>, inputs: UpdateInputs): Updated {
  const { parameter, gradient, state, scalars } = inputs
  const { alpha = 0.99, epsilon = 1e-8 } = optimizer
  const momentum = momentumOf(optimizer)
  const square = decayTo(emit, state[0]!, emit.mul(gradient, gradient), alpha)
  const root = emit.add(emit.unary('Sqrt', square), emit.number(epsilon, square))
  const scaled = emit.div(gradient, root)
  if (momentum === 0) return { parameter: descend(emit, parameter, scaled, scalars.rate), state: [square] }
  const buffer = emit.add(emit.scale(state[1]!, momentum), scaled)
  return { parameter: descend(emit, parameter, buffer, scalars.rate), state: [square, buffer] }
}

/** How gradients are bounded. */
export type Clipping = {
  /** The most that the norm of all gradients together may be; larger ones are scaled down. */
  readonly norm?: number
  /** The most that any element's absolute value may be; applied first. */
  readonly value?: number
}

/** Checks bounds on gradients. @throws WhittleError `INVALID_ARGUMENT`. */
export function checkClipping(clipping: Clipping): void {
  for (const [name, bound] of Object.entries(clipping))
    if (bound !== undefined && !(Number.isFinite(bound) && bound > 0))
      fail('INVALID_ARGUMENT', `Option clip: ${name} must be a number above 0; got ${bound}.`)
}

/**
 * Bounds gradients as `torch.nn.utils.clip_grad_value_` and `clip_grad_norm_` do.
 *
 * @param gradients at least one.
 * @returns the gradients in the same order, and the norm of all of them before they were scaled.
 */
export function clipGradients(
  emit: Emitter,
  gradients: readonly string[],
  { norm, value }: Clipping,
): { readonly gradients: string[]; readonly norm: string } {
  const bounded = gradients.map((gradient) =>
    value === undefined
      ? gradient
      : emit.op('Clip', [gradient, emit.number(-value, gradient), emit.number(value, gradient)], emit.shape(gradient)),
  )
  const squares = bounded.map((gradient) => {
    const axes = [...emit.shape(gradient).keys()]
    return axes.length === 0 ? emit.mul(gradient, gradient) : emit.reduce('ReduceSumSquare', gradient, axes, false)
  })
  const total = emit.unary('Sqrt', squares.length === 1 ? squares[0]! : emit.op('Sum', squares, []))
  if (norm === undefined) return { gradients: bounded, norm: total }
  const wanted = emit.div(emit.number(norm, total), emit.add(total, emit.number(1e-6, total)))
  const factor = emit.op('Min', [wanted, emit.number(1, total)], [])
  return { gradients: bounded.map((gradient) => emit.mul(gradient, factor)), norm: total }
}
