// The mathematics under decomposition without files and networks; warm, best of the rounds.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ROOT } from '../environment.mjs'
import { waitForQuiet } from '../process.mjs'

/** Runs the section. */
export async function run({ threads, rounds }) {
  await waitForQuiet()
  const args = [join(ROOT, 'bench', 'linear-algebra.mjs'), '--threads', String(threads), '--rounds', String(rounds)]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  return { text: stdout.trim(), goals: [], results: [] }
}
