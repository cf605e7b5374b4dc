// The `whittle` command as it is, with one line of JSON after its output: CPU seconds and peak memory of the process.
import { writeSync } from 'node:fs'
import { usage } from './process.mjs'

process.on('exit', () => writeSync(1, `\n${JSON.stringify(usage())}\n`))
await import('../dist/cli/main.js')
