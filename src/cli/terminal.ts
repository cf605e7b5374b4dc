/** What a command may write, and how it is told to stop. */
import { writeSync } from 'node:fs'
import type { Progress } from '../core/index.ts'
import { ProgressLine } from './progress.ts'

/** The terminal of one run. */
export interface Terminal {
  /** Aborted by the first Ctrl-C. */
  readonly signal: AbortSignal
  readonly onProgress: (progress: Progress) => void
  /** A message on standard error, unless `--quiet`. */
  note(text: string): void
  /** The result: `text()` for people, `json` with `--json`; on standard output. */
  print(json: unknown, text: () => string): void
}

/** A terminal over the process's streams. @param modes flags of the command line. */
export function createTerminal(
  signal: AbortSignal,
  modes: { json: boolean; quiet: boolean },
): Terminal & { close(): void } {
  const line = new ProgressLine(process.stderr)
  return {
    signal,
    onProgress: modes.quiet ? () => {} : (progress) => line.update(progress),
    note(text) {
      line.clear()
      if (!modes.quiet) process.stderr.write(`${text}\n`)
    },
    print(json, text) {
      line.clear()
      writeOutput(`${modes.json ? JSON.stringify(json, null, 2) : text()}\n`)
    },
    close: () => line.clear(),
  }
}

/** Writes all of a text to standard output, also to a pipe that takes it in pieces or whose reader goes away. */
export function writeOutput(text: string): void {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(1, bytes, at)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      // The reader went away, as `head` does.
      if (code === 'EPIPE') return
      if (code !== 'EAGAIN') throw error
    }
  }
}
