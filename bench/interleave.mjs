// Contenders take turns (A B C A B C …), so that a change of the machine's mood hits all of them alike.

/** A contender that took this many seconds in all gets no further turns; one turn is always taken. */
const SECONDS_PER_CONTENDER = 30

/**
 * Runs every contender up to `rounds` times, in turns; slow ones fewer times.
 *
 * @param contenders `{ name, run: () => Promise<{ seconds, … }> }`; the first is ours and takes every turn.
 * @param log called with one line per run.
 * @returns per contender `{ name, runs, failure }`; a contender that failed has no further turns.
 */
export async function takeTurns(contenders, { rounds, log }) {
  const entries = contenders.map(({ name }) => ({ name, runs: [], failure: undefined }))
  for (let round = 0; round < rounds; round++) {
    let turns = 0
    for (const [index, contender] of contenders.entries()) {
      const entry = entries[index]
      const spent = entry.runs.reduce((sum, run) => sum + run.seconds, 0)
      const expected = spent / Math.max(1, entry.runs.length)
      if (entry.failure || (round > 0 && spent + expected > SECONDS_PER_CONTENDER)) continue
      try {
        const result = await contender.run()
        entry.runs.push(result)
        turns++
        log(`${contender.name}: ${result.seconds.toFixed(2)} s, ${Math.round(result.peakMB)} MB`)
      } catch (error) {
        entry.failure = error.message
        log(`${contender.name}: ${error.message}`)
      }
    }
    if (turns === 0) break
  }
  return entries
}

/** The middle value; the mean of the two middle ones for an even count. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** Medians of the numbers of several runs, the least time, and the largest memory. */
export function summarize(runs) {
  if (runs.length === 0) return undefined
  const split = {}
  for (const name of Object.keys(runs[0].split ?? {})) split[name] = median(runs.map((run) => run.split[name]))
  const others = runs.map((run) => run.others).filter((value) => value !== undefined)
  return {
    seconds: median(runs.map((run) => run.seconds)),
    least: Math.min(...runs.map((run) => run.seconds)),
    cpu: median(runs.map((run) => run.cpu)),
    peakMB: Math.max(...runs.map((run) => run.peakMB)),
    runs: runs.length,
    split,
    ...(others.length > 0 ? { others: median(others) } : {}),
  }
}
