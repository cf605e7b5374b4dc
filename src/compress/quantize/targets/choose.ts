/** From a target, what somebody chose and what was measured to the flavour that is written. */
import { fail } from '../../../core/index.ts'
import type { IntegerType } from '../scheme.ts'
import { type SlowFlavour, TARGET_NAMES, TARGETS, type TargetName } from './profiles.ts'

/** What running small networks showed; `integerSupport` of the engine gives it. */
export interface MeasuredIntegers {
  readonly saturates: boolean
  /** Time of float over time of integers, by types of activations and weights. */
  readonly speedup: Readonly<Record<'u8s8' | 's8s8' | 'u8u8', number>>
  readonly fastest: 'u8s8' | 's8s8' | 'u8u8'
}

/** What somebody asked for. */
export interface TargetRequest {
  /** Default `'node-cpu'`. */
  readonly target?: string | undefined
  readonly activations?: IntegerType | undefined
  readonly weights?: IntegerType | undefined
  readonly activationsSymmetric?: boolean | undefined
  readonly weightBits?: number | undefined
  readonly reduceRange?: boolean | undefined
  readonly operators?: ReadonlySet<string> | undefined
  /** Whether flavours that are slower than float are written all the same; default false. */
  readonly allowSlow?: boolean | undefined
}

/** What is written for a target. */
export interface TargetChoice {
  readonly target: TargetName
  readonly activations: IntegerType
  readonly weights: IntegerType
  readonly activationsSymmetric: boolean
  readonly reduceRange: boolean
  readonly operators: ReadonlySet<string> | undefined
  /** `false` where weights have one scale each: kernels for unsigned weights take one zero point. */
  readonly perChannel: false | undefined
  readonly perTensorOperators: ReadonlySet<string>
  readonly floatBiases: boolean
  readonly warnings: readonly string[]
}

type Flavour = { readonly activations: IntegerType; readonly weights: IntegerType }

const MEASURED = {
  u8s8: { activations: 'uint8', weights: 'int8' },
  s8s8: { activations: 'int8', weights: 'int8' },
  u8u8: { activations: 'uint8', weights: 'uint8' },
} as const satisfies Record<string, Flavour>

/** Below this, integers are not worth their error. */
const WORTH = 1.1

/**
 * The target of a name.
 *
 * @throws WhittleError `INVALID_ARGUMENT` with the names there are.
 */
export function targetOf(name: string): TargetName {
  const found = TARGET_NAMES.find((target) => target === name)
  return found ?? fail('INVALID_ARGUMENT', `Target '${name}': must be one of ${TARGET_NAMES.join(', ')}.`)
}

/**
 * Chooses the flavour of integers for a target.
 *
 * What nobody asked for is what the target is fastest with, as measured, else as its profile says. What was asked for
 * is written, unless it is slow there.
 *
 * @param measured of the machine that the network will run on; `undefined` where it cannot be measured.
 * @throws WhittleError `INVALID_ARGUMENT` for a slow flavour, with the measured ratio and what to write instead.
 */
export function chooseForTarget(request: TargetRequest, measured?: MeasuredIntegers): TargetChoice {
  const target = targetOf(request.target ?? 'node-cpu')
  const profile = TARGETS[target]
  const flavour = wanted(request, profile.preferred, measured)
  const slow = slowness(target, flavour, measured)
  const text = slow && sentence(target, flavour, slow)
  if (slow && !request.allowSlow)
    fail(
      'INVALID_ARGUMENT',
      `${text} Use ${measured && profile.measurable ? words(MEASURED[measured.fastest]) : profile.alternative}; target onnx takes everything and promises no speed.`,
      { details: { target, ...flavour, ratio: slow.ratio } },
    )
  const warnings = slow ? [text!] : []
  const { saturates = false } = measured ?? {}
  const isMixed = flavour.activations === 'uint8' && flavour.weights === 'int8'
  const reduced = request.reduceRange ?? (saturates && isMixed && request.weightBits === undefined)
  if (saturates && isMixed && reduced && request.reduceRange === undefined)
    warnings.push('Weights have 7 bits: sums of products of 8 bits saturate on this processor.')
  if (saturates && isMixed && !reduced && (request.weightBits ?? 8) > 7)
    warnings.push('Sums of products of 8 bits saturate on this processor; weights of 7 bits would not.')
  return {
    target,
    ...flavour,
    activationsSymmetric: request.activationsSymmetric ?? profile.symmetricActivations,
    reduceRange: reduced,
    operators: request.operators ?? profile.operators,
    perChannel: flavour.weights.startsWith('u') ? false : undefined,
    perTensorOperators: profile.perTensorOperators,
    floatBiases: profile.floatBiases,
    warnings,
  }
}

function wanted(request: TargetRequest, preferred: Flavour | null, measured: MeasuredIntegers | undefined): Flavour {
  const { activations, weights } = request
  const standard = preferred ?? MEASURED.u8s8
  if (activations && weights) return { activations, weights }
  // One of the two is given: the fastest measured flavour that has it.
  const candidates = measured
    ? Object.entries(MEASURED)
        .filter(
          ([, flavour]) =>
            (!activations || flavour.activations === activations) && (!weights || flavour.weights === weights),
        )
        .sort(([a], [b]) => rank(b, measured) - rank(a, measured))
    : []
  const best = candidates[0]?.[1]
  return best ?? { activations: activations ?? standard.activations, weights: weights ?? standard.weights }
}

/** Speed; the flavour that the test settled on comes first whatever the noise. */
function rank(name: string, { speedup, fastest }: MeasuredIntegers): number {
  return name === fastest ? Number.POSITIVE_INFINITY : speedup[name as keyof typeof speedup]
}

function slowness(
  target: TargetName,
  flavour: Flavour,
  measured: MeasuredIntegers | undefined,
): SlowFlavour | undefined {
  const known = TARGETS[target].slow(flavour.activations, flavour.weights)
  const name = (Object.keys(MEASURED) as (keyof typeof MEASURED)[]).find(
    (key) => MEASURED[key].activations === flavour.activations && MEASURED[key].weights === flavour.weights,
  )
  if (!measured || !name || !TARGETS[target].measurable) return known
  const ratio = measured.speedup[name]
  if (ratio >= WORTH) return undefined
  return { ratio, reason: known?.reason ?? 'the runtime at hand is not faster with them' }
}

const words = ({ activations, weights }: Flavour): string => `${activations} activations with ${weights} weights`

function sentence(target: TargetName, flavour: Flavour, { ratio, reason }: SlowFlavour): string {
  const measured =
    ratio === null
      ? ''
      : `, ${ratio < 1 ? `${percent(1 / ratio - 1)} slower than` : `only ${percent(ratio - 1)} faster than`} float32 when measured`
  return `Target ${target}: ${words(flavour)} are slow there${measured}: ${reason}.`
}

const percent = (part: number): string => `${Math.round(100 * part)} %`
