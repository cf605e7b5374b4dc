/** Commands: a table of options, a help text, and a function from options to an exit code. */
import { fail } from '../core/index.ts'
import {
  COMMON_OPTIONS,
  checkRequired,
  describeOptions,
  type OptionSpecs,
  type OptionValues,
  parseOptions,
} from './options.ts'
import { createTerminal, type Terminal, writeOutput } from './terminal.ts'

/** What a command is given. */
export interface Invocation<S extends OptionSpecs> {
  readonly models: readonly string[]
  readonly options: OptionValues<S> & OptionValues<typeof COMMON_OPTIONS>
  readonly terminal: Terminal
}

/** What a command consists of. */
export interface CommandDefinition<S extends OptionSpecs> {
  readonly name: string
  /** One line. */
  readonly summary: string
  /** The positional arguments, e.g. `MODEL...`. */
  readonly usage: string
  /** How many models it takes, at least and at most. */
  readonly models: readonly [number, number]
  readonly options: S
  /** Command lines and what they do. */
  readonly examples: readonly (readonly [string, string])[]
  /** @returns the exit code; nothing for 0. */
  run(invocation: Invocation<S>): Promise<number | undefined>
}

/** A command ready to run. */
export interface Command {
  readonly help: string
  /** @returns the exit code. @throws WhittleError for whatever is wrong with the input. */
  run(args: readonly string[], signal: AbortSignal): Promise<number>
}

/** Makes a command from its definition. */
export function defineCommand<const S extends OptionSpecs>(definition: CommandDefinition<S>): Command {
  const specs = { ...definition.options, ...COMMON_OPTIONS }
  const help = helpOf(definition)
  return {
    help,
    async run(args, signal) {
      const { positionals, values } = parseOptions(args, specs)
      if (values.help) {
        writeOutput(`${help}\n`)
        return 0
      }
      const [least, most] = definition.models
      if (positionals.length < least)
        fail(
          'INVALID_ARGUMENT',
          `whittle ${definition.name}: a model is missing; write whittle ${definition.name} ${definition.usage}.`,
        )
      if (positionals.length > most)
        fail(
          'INVALID_ARGUMENT',
          `whittle ${definition.name}: takes ${most} model${most > 1 ? 's' : ''}; '${positionals[most]}' is too much.`,
        )
      checkRequired(specs, values)
      const terminal = createTerminal(signal, { json: values.json === true, quiet: values.quiet === true })
      try {
        return (await definition.run({ models: positionals, options: values, terminal })) ?? 0
      } finally {
        terminal.close()
      }
    },
  }
}

function helpOf({ name, summary, usage, options, examples }: CommandDefinition<OptionSpecs>): string {
  const shown = examples.map(([line, about]) => `  # ${about}\n  ${line}`).join('\n')
  return [
    `${summary}.`,
    `Usage: whittle ${name} ${usage} [options]`,
    ...(Object.keys(options).length > 0 ? [`Options:\n${describeOptions(options)}`] : []),
    `Options of every command:\n${describeOptions(COMMON_OPTIONS)}`,
    `Examples:\n${shown}`,
  ].join('\n\n')
}
