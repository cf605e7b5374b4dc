// Where everything is, and what machine the figures come from.
import { readFileSync } from 'node:fs'
import { arch, cpus, platform, release, totalmem } from 'node:os'
import { join } from 'node:path'

export const ROOT = join(import.meta.dirname, '..')
/** Generated models and weights, kept between runs. */
export const DATA = join(ROOT, 'out', 'bench', 'data')
/** What measured processes write. */
export const SCRATCH = join(ROOT, 'out', 'bench', 'scratch')
/** One JSON document per section. */
export const RESULTS = join(ROOT, 'out', 'bench', 'results')
/** Test models and images that are too large, or not free enough, for the repository. */
export const SHARED = process.env.WHITTLE_SHARED ?? join(ROOT, '..', 'shared')

/** Machine and software, for the results. */
export function describeMachine(python) {
  const version = (name) => JSON.parse(readFileSync(join(ROOT, 'node_modules', name, 'package.json'), 'utf8')).version
  const modules = python.reason ? {} : { python: python.python, ...python.modules }
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGB: Math.round(totalmem() / 1e9),
    system: `${platform()} ${arch()} ${release()}`,
    node: process.versions.node,
    'onnxruntime-node': version('onnxruntime-node'),
    ...Object.fromEntries(Object.entries(modules).filter(([, found]) => found !== null)),
  }
}
