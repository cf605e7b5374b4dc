/** ONNX Runtime's failures in our form: the node first, then the reason on one line, without source paths. */
import { messageOf, WhittleError } from '../core/index.ts'

const MAX_REASON = 400

const WEB_PREFIX = /^(?:Can't create a session|failed to call OrtRun\(\))\. ERROR_CODE: \d+, ERROR_MESSAGE: /
/** `/path/file.cc:12 void ns::f(int, int) condition was false. ` */
const SOURCE_LOCATION = /\/\S+\.(?:h|hpp|cc|cpp):\d+ [^\n(]*\([^)]*\)(?: const)? (?:[^.]* was false\. )?/g
/** Where messages name a node: the groups `node` and `op`. */
const NODE_PATTERNS = [
  /while running (?<op>\S+) node\. Name:'(?<node>[^']*)' Status Message: /,
  /Node \((?<node>.*?)\) Op \((?<op>\w+)\) (?:\[\w+\] )?/,
  /In Node, \("(?<node>[^"]*)", (?<op>\w+),.*?Error /s,
  /Could not find an implementation for (?<op>[\w.]+)\(\d+\) node with name '(?<node>[^']*)'/,
]

/**
 * A WhittleError `ENGINE` for something the runtime threw.
 *
 * @param action what was refused, e.g. `'load the model'`; used when the message names no node.
 */
export function engineError(action: string, error: unknown): WhittleError {
  if (error instanceof WhittleError) return error
  let reason = messageOf(error).replace(WEB_PREFIX, '')
  let where = ''
  let details: { node: string; op: string } | null = null
  for (const pattern of NODE_PATTERNS) {
    const found = pattern.exec(reason)
    if (!found?.groups) continue
    const { node = '', op = '' } = found.groups
    details = { node, op }
    where = node === '' ? `${op} (a node without a name): ` : `${op} '${node}': `
    const rest = reason.slice(found.index + found[0].length)
    if (rest.trim() !== '') reason = rest
    break
  }
  const clean = reason.replace(SOURCE_LOCATION, '').replace(/\s+/g, ' ').trim().replace(/\.+$/, '')
  const short = clean.length > MAX_REASON ? `${clean.slice(0, MAX_REASON)} …` : clean
  return new WhittleError('ENGINE', `${where}ONNX Runtime cannot ${action}: ${short}.`, { details, cause: error })
}
