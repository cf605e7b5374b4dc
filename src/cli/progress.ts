/** A progress line with the time left, on a terminal, for work of more than two seconds. */
import type { Progress } from '../core/index.ts'
import { formatMilliseconds } from '../report/index.ts'

const QUIET_MILLISECONDS = 2000
const REFRESH_MILLISECONDS = 100

/** Where the line is drawn; `process.stderr` is one. */
export interface ProgressStream {
  readonly isTTY?: boolean | undefined
  readonly columns?: number | undefined
  write(text: string): unknown
}

/** A line that is redrawn in place. */
export class ProgressLine {
  readonly #stream: ProgressStream
  readonly #now: () => number
  readonly #started: number
  #stage = ''
  #stageStarted = 0
  #drawn = 0
  #visible = false

  constructor(stream: ProgressStream, now: () => number = () => performance.now()) {
    this.#stream = stream
    this.#now = now
    this.#started = now()
  }

  /** Takes note of progress; draws at most ten times a second. */
  update({ stage, done, total, item }: Progress): void {
    const now = this.#now()
    if (stage !== this.#stage) {
      this.#stage = stage
      this.#stageStarted = now
    }
    if (!this.#stream.isTTY || now - this.#started < QUIET_MILLISECONDS || now - this.#drawn < REFRESH_MILLISECONDS)
      return
    this.#drawn = now
    this.#visible = true
    const spent = now - this.#stageStarted
    const left = total !== undefined && done > 0 ? (spent / done) * (total - done) : undefined
    const parts = [
      stage,
      total === undefined ? String(done) : `${done}/${total}`,
      left === undefined ? '' : `${formatMilliseconds(Math.max(1000, left))} left`,
      item ?? '',
    ]
    const text = parts.filter((part) => part !== '').join(' · ')
    this.#stream.write(`\r\u001b[2K${text.slice(0, (this.#stream.columns ?? 80) - 1)}`)
  }

  /** Takes the line away, before anything else is written. */
  clear(): void {
    if (this.#visible) this.#stream.write('\r\u001b[2K')
    this.#visible = false
  }
}
