// The Python that peers and cross-checks run in, if there is one. Nothing of Whittle itself needs it.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

/** The interpreter: WHITTLE_PYTHON, else `python3`. */
export const PYTHON = process.env.WHITTLE_PYTHON ?? 'python3'

const PROBE = `
import importlib, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = getattr(importlib.import_module(name), '__version__', '')
    except Exception as error:
        found[name] = None
print(json.dumps({'python': sys.version.split()[0], 'modules': found}))
`

/** The environment of Python processes: their threads, and TensorLy's checkout when WHITTLE_TENSORLY names one. */
export function pythonEnvironment(threads) {
  const paths = [process.env.WHITTLE_TENSORLY, process.env.PYTHONPATH].filter((path) => path)
  const env = { PYTHONDONTWRITEBYTECODE: '1', PYTHONWARNINGS: 'ignore' }
  if (paths.length > 0) env.PYTHONPATH = paths.join(process.platform === 'win32' ? ';' : ':')
  if (threads !== undefined)
    for (const name of ['OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS']) env[name] = String(threads)
  return env
}

/**
 * Looks for Python and modules.
 *
 * @returns `{ python, modules }`: versions, `null` for a module that does not import; or `{ reason }`.
 */
export async function findPython(modules) {
  try {
    const env = { ...process.env, ...pythonEnvironment() }
    const { stdout } = await promisify(execFile)(PYTHON, ['-c', PROBE, ...modules], { env })
    return JSON.parse(stdout.trimEnd().split('\n').at(-1))
  } catch (error) {
    const why = error.code === 'ENOENT' ? 'is not there' : `does not run: ${error.message.split('\n')[0]}`
    return { reason: `Python '${PYTHON}' ${why}; WHITTLE_PYTHON names another.` }
  }
}

const HINTS = { tensorly: ' (WHITTLE_TENSORLY may name a checkout of it)' }

/** Why something that needs these modules cannot run; `undefined` when it can. */
export function missing(found, modules) {
  if (found.reason) return found.reason
  const absent = modules.filter((name) => typeof found.modules[name] !== 'string')
  if (absent.length === 0) return undefined
  return `Python '${PYTHON}' has no ${absent.map((name) => name + (HINTS[name] ?? '')).join(', ')}.`
}
