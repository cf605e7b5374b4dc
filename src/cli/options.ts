/** Options of commands: what each takes, how it is read, how it is shown in the help. */
import { parseArgs } from 'node:util'
import { fail } from '../core/index.ts'
import { nearest } from './nearest.ts'

/** One option of a command. */
export interface OptionSpec {
  /** `flag` takes no value; `list` may be given several times, or with commas; `repeat` several times only. */
  readonly kind: 'flag' | 'text' | 'number' | 'count' | 'list' | 'repeat'
  /** One letter, for `-o`. */
  readonly short?: string
  /** What stands for the value in the help, e.g. `FILE`. */
  readonly value?: string
  /** One line for the help. */
  readonly about: string
  readonly required?: boolean
  /** Of a text: what the option alone means, without a value behind it. */
  readonly bare?: string
  /** Least value of a number; default 1 for counts. */
  readonly least?: number
}

/** Options by name, in kebab case. */
export type OptionSpecs = Readonly<Record<string, OptionSpec>>

/** What an option's text is read as. */
export type OptionValue<S extends OptionSpec> = S['kind'] extends 'flag'
  ? boolean
  : S['kind'] extends 'list' | 'repeat'
    ? readonly string[]
    : S['kind'] extends 'text'
      ? S['required'] extends true
        ? string
        : string | undefined
      : number | undefined

/** The options of a command as read. */
export type OptionValues<S extends OptionSpecs> = { readonly [K in keyof S]: OptionValue<S[K]> }

/** Options that every command has. */
export const COMMON_OPTIONS = {
  json: { kind: 'flag', about: 'print one JSON document on standard output, and nothing else there' },
  seed: { kind: 'count', value: 'N', least: 0, about: 'seed of everything random (default 0)' },
  threads: { kind: 'count', value: 'N', about: 'threads of ONNX Runtime (default: one per core)' },
  quiet: { kind: 'flag', short: 'q', about: 'no progress and no messages' },
  help: { kind: 'flag', short: 'h', about: 'show this help' },
} as const satisfies OptionSpecs

/**
 * Reads a command line.
 *
 * @returns positional arguments, and a value for every option of `specs`.
 * @throws WhittleError `INVALID_ARGUMENT` for unknown options (naming the nearest one), missing or bad values.
 */
export function parseOptions<S extends OptionSpecs>(
  args: readonly string[],
  specs: S,
): { positionals: readonly string[]; values: OptionValues<S> } {
  const options: Record<string, { type: 'string' | 'boolean'; multiple: boolean; short?: string }> = {}
  for (const [name, { kind, short }] of Object.entries(specs))
    options[name] = {
      type: kind === 'flag' ? 'boolean' : 'string',
      multiple: kind === 'list' || kind === 'repeat',
      ...(short === undefined ? {} : { short }),
    }
  const { values, positionals, tokens } = parseArgs({
    args: withBareValues(args, specs),
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  const seen = new Set<string>()
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    const spec = Object.hasOwn(specs, token.name) ? specs[token.name] : undefined
    if (!spec) fail('INVALID_ARGUMENT', unknownOption(token.rawName, Object.keys(specs)))
    if (seen.has(token.name) && !['list', 'repeat', 'flag'].includes(spec.kind))
      fail('INVALID_ARGUMENT', `Option ${token.rawName}: is taken once; it was given twice.`)
    seen.add(token.name)
    if (spec.kind === 'flag' && token.value !== undefined)
      fail('INVALID_ARGUMENT', `Option ${token.rawName}: takes no value; got '${token.value}'.`)
    // `--rank --data x` would silently make '--data' the rank.
    const missing = token.value === undefined || (!token.inlineValue && /^-[^\d]/.test(token.value))
    if (spec.kind !== 'flag' && missing)
      fail(
        'INVALID_ARGUMENT',
        `Option ${token.rawName}: needs a value; write ${token.rawName} ${spec.value ?? 'TEXT'}.`,
      )
  }
  const read: Record<string, unknown> = {}
  for (const [name, spec] of Object.entries(specs)) read[name] = readValue(name, spec, values[name])
  return { positionals, values: read as OptionValues<S> }
}

/** What options that may stand alone mean, written out where nothing follows them but another option. */
function withBareValues(args: readonly string[], specs: OptionSpecs): string[] {
  const end = args.includes('--') ? args.indexOf('--') : args.length
  return args.map((arg, at) => {
    const bare = arg.startsWith('--') && Object.hasOwn(specs, arg.slice(2)) ? specs[arg.slice(2)]!.bare : undefined
    const next = args[at + 1]
    return at < end && bare !== undefined && (next === undefined || /^-[^\d]/.test(next)) ? `${arg}=${bare}` : arg
  })
}

/** Throws for required options without value; apart from parsing, so that `--help` works without them. */
export function checkRequired(specs: OptionSpecs, values: Readonly<Record<string, unknown>>): void {
  for (const [name, spec] of Object.entries(specs))
    if (spec.required && values[name] === undefined)
      fail('INVALID_ARGUMENT', `Option --${name} is required; add ${flagOf(name, spec)} ${spec.value ?? 'TEXT'}.`)
}

function unknownOption(raw: string, names: readonly string[]): string {
  const near = nearest(raw.replace(/^-+/, ''), names)
  return `Option ${raw} does not exist. ${near ? `Did you mean --${near}?` : 'See --help for the options there are.'}`
}

function readValue(name: string, spec: OptionSpec, value: unknown): unknown {
  if (spec.kind === 'flag') return value === true
  if (spec.kind === 'repeat') return value ?? []
  if (spec.kind === 'list')
    return ((value as string[] | undefined) ?? []).flatMap((item) => item.split(',')).filter((item) => item !== '')
  if (value === undefined || spec.kind === 'text') return value
  const number = (value as string).trim() === '' ? Number.NaN : Number(value)
  const least = spec.least ?? (spec.kind === 'count' ? 1 : Number.NEGATIVE_INFINITY)
  if (spec.kind === 'count' && !(Number.isSafeInteger(number) && number >= least))
    fail('INVALID_ARGUMENT', `Option --${name}: must be a whole number of at least ${least}; got '${value}'.`)
  if (!(Number.isFinite(number) && number >= least)) {
    const range = Number.isFinite(least) ? ` of at least ${least}` : ''
    fail('INVALID_ARGUMENT', `Option --${name}: must be a number${range}; got '${value}'.`)
  }
  return number
}

function flagOf(name: string, { short }: OptionSpec): string {
  return short === undefined ? `--${name}` : `-${short}`
}

/** Options as aligned lines for the help. */
export function describeOptions(specs: OptionSpecs): string {
  const entries = Object.entries(specs).map(([name, spec]): [string, string] => {
    const short = spec.short === undefined ? '    ' : `-${spec.short}, `
    const shown = spec.value ?? 'TEXT'
    const value = spec.kind === 'flag' ? '' : spec.bare === undefined ? ` ${shown}` : ` [${shown}]`
    return [`  ${short}--${name}${value}`, spec.about]
  })
  const width = Math.max(...entries.map(([flag]) => flag.length))
  return entries.map(([flag, about]) => `${flag.padEnd(width)}  ${about}`).join('\n')
}
