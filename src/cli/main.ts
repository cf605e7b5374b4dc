#!/usr/bin/env node
/** The `whittle` command: finds the command, turns errors into one line and an exit code, and Ctrl-C into an abort. */
import { fail, messageOf, VERSION, WhittleError } from '../core/index.ts'
import type { Command } from './command.ts'
import { nearest } from './nearest.ts'
import { writeOutput } from './terminal.ts'

const COMMANDS: Readonly<Record<string, { summary: string; load: () => Promise<{ command: Command }> }>> = {
  inspect: { summary: 'layers, costs, and what each method can do with them', load: () => import('./inspect.ts') },
  decompose: { summary: 'replace layers by products of smaller ones', load: () => import('./decompose.ts') },
  replay: { summary: 'rebuild a decomposed structure on a fresh model', load: () => import('./replay.ts') },
  quantize: { summary: 'turn weights and activations into integers', load: () => import('./quantize.ts') },
  finetune: { summary: 'train further, on labels or a teacher', load: () => import('./finetune.ts') },
  evaluate: { summary: 'accuracy on labelled data', load: () => import('./evaluate.ts') },
  benchmark: { summary: 'latency and throughput, side by side', load: () => import('./benchmark.ts') },
  compare: { summary: 'difference of two models, per output and per layer', load: () => import('./compare.ts') },
}

function helpText(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length))
  const lines = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`)
  return [
    'Makes trained neural networks (ONNX) smaller and faster.',
    'Usage: whittle COMMAND MODEL [options]',
    `Commands:\n${lines.join('\n')}`,
    'Exit codes: 0 done · 1 wrong input or options · 2 a check asked for did not hold · 130 interrupted',
    'Help with examples: whittle COMMAND --help',
  ].join('\n\n')
}

async function dispatch(args: readonly string[], signal: AbortSignal): Promise<number> {
  const [name, ...rest] = args
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    const topic = name === 'help' && rest[0] !== undefined && Object.hasOwn(COMMANDS, rest[0]) ? rest[0] : undefined
    writeOutput(`${topic ? (await COMMANDS[topic]!.load()).command.help : helpText()}\n`)
    return name === undefined ? 1 : 0
  }
  if (name === '--version' || name === '-v') {
    writeOutput(`${VERSION}\n`)
    return 0
  }
  if (!Object.hasOwn(COMMANDS, name)) {
    const near = nearest(name, Object.keys(COMMANDS))
    fail(
      'INVALID_ARGUMENT',
      `Command '${name}' does not exist. ${near ? `Did you mean '${near}'?` : 'See whittle --help for the commands there are.'}`,
    )
  }
  const { command } = await COMMANDS[name]!.load()
  return command.run(rest, signal)
}

/** The first Ctrl-C cancels the work; the second ends the process at once. */
function interruptible(): AbortController {
  const controller = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    process.once(name, () => {
      controller.abort(name)
      process.on(name, () => process.exit(130))
    })
  return controller
}

/** What a command says about its being interrupted. */
function adviceOf(error: unknown): string | undefined {
  const details = error instanceof WhittleError && error.code === 'ABORTED' ? error.details : null
  const isObject = typeof details === 'object' && details !== null && 'advice' in details
  return isObject ? String(details.advice) : undefined
}

function report(error: unknown, signal: AbortSignal): number {
  if (process.env.WHITTLE_DEBUG === '1' && error instanceof Error) process.stderr.write(`${error.stack}\n`)
  if (signal.aborted) {
    process.stderr.write(`${adviceOf(error) ?? 'Interrupted; nothing was written.'}\n`)
    return 130
  }
  if (error instanceof RangeError && /alloc|array length/i.test(error.message)) {
    process.stderr.write(`whittle: There is not enough memory: ${error.message}.\n`)
    return 1
  }
  const known = error instanceof WhittleError && error.code !== 'INTERNAL'
  const message = messageOf(error).replace(/\s*\n\s*/g, ' ')
  const text = known ? message : `${message} This is a bug in whittle; WHITTLE_DEBUG=1 shows where.`
  process.stderr.write(`whittle: ${text}\n`)
  return known && error.code === 'CHECK_FAILED' ? 2 : 1
}

const controller = interruptible()
process.on('uncaughtException', (error) => process.exit(report(error, controller.signal)))
let exitCode: number
try {
  exitCode = await dispatch(process.argv.slice(2), controller.signal)
} catch (error) {
  exitCode = report(error, controller.signal)
}
// ONNX Runtime's threads would otherwise keep a finished process alive for a while.
process.exit(exitCode)
