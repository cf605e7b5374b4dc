// Runs one measurement in a fresh process, so that its peak memory is its own and nothing is warm from another.
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** Seconds of CPU that everything on this machine has used so far; `undefined` where /proc does not tell. */
function machineCpuSeconds() {
  try {
    const [, user, nice, system, , , irq, softirq] = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0].split(/\s+/)
    return (Number(user) + Number(nice) + Number(system) + Number(irq) + Number(softirq)) / 100
  } catch {
    return undefined
  }
}

let patience = 0

/** How many seconds {@link waitForQuiet} may wait; 0 until it is set. */
export function setPatience(seconds) {
  patience = seconds
}

/** Waits until other processes use less than a tenth of one CPU, as long as patience lasts. */
export async function waitForQuiet() {
  const until = performance.now() + patience * 1000
  while (performance.now() < until) {
    const [before, started, own] = [machineCpuSeconds(), performance.now(), process.cpuUsage()]
    if (before === undefined) return
    await new Promise((resolve) => setTimeout(resolve, 250))
    const { user, system } = process.cpuUsage(own)
    const busy = machineCpuSeconds() - before - (user + system) / 1e6
    if (busy / ((performance.now() - started) / 1000) < 0.1) return
  }
}

/**
 * Waits for a quiet moment, then runs a command that prints one JSON object as its last line on standard output.
 *
 * @returns its object, with `wall` (seconds from start to exit), `output` (what it printed before) and `others`: CPUs
 *   that other processes kept busy meanwhile, which says how far the figures can be trusted. It needs `cpu`, the
 *   process' own CPU seconds, in the object.
 * @throws Error with the process' own words when it fails.
 */
export async function measure(command, args, { env = {}, cwd } = {}) {
  await waitForQuiet()
  const before = machineCpuSeconds()
  const started = performance.now()
  const { code, signal, stdout, stderr } = await run(command, args, { env: { ...process.env, ...env }, cwd })
  const wall = (performance.now() - started) / 1000
  const after = machineCpuSeconds()
  const output = stdout.trimEnd()
  const last = output.slice(output.lastIndexOf('\n') + 1)
  if (code !== 0 || !last.startsWith('{')) {
    const lines = (stderr.trim() || stdout.trim()).split('\n')
    const words = lines.find((line) => /\w*Error\b.*:/.test(line)) ?? lines.slice(-3).join(' ')
    const how = signal ? `was ended by ${signal}` : `ended with exit code ${code}`
    throw new Error(`${args[0]} ${how}: ${words}`)
  }
  const result = JSON.parse(last)
  const busy = before === undefined || result.cpu === undefined ? undefined : after - before - result.cpu
  const text = output.slice(0, output.length - last.length)
  return { ...result, wall, output: text, others: busy === undefined ? undefined : Math.max(0, busy) / wall }
}

function run(command, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text) => {
      stderr = (stderr + text).slice(-20_000)
    })
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
  })
}

/** What a measured Node process says of itself at its end: CPU seconds and the peak of its resident memory in MB. */
export function usage() {
  const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage()
  return { cpu: (userCPUTime + systemCPUTime) / 1e6, peakMB: (maxRSS * 1024) / 1e6 }
}
