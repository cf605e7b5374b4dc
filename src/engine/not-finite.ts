/** Where NaN goes in a network: most operators make NaN of it, so that one look at the end sees that of many values. */
import { type Graph, intsAttribute, type Node } from '../graph/index.ts'

/** Operators whose output is NaN where, or next to where, the first input is; the Relu of ONNX Runtime gives NaN too. */
const PASSES: ReadonlySet<string> = new Set([
  'Add',
  'BatchNormalization',
  'Conv',
  'Flatten',
  'Gemm',
  'GlobalAveragePool',
  'Identity',
  'MatMul',
  'Relu',
  'Reshape',
  'Sub',
  'Transpose',
])
/** Those of them that say so of the second input as well. */
const PASSES_SECOND: ReadonlySet<string> = new Set(['Add', 'Sub', 'Gemm', 'MatMul'])

function passes(node: Node, name: string): boolean {
  const at = node.inputs.indexOf(name)
  if (!PASSES.has(node.opType) || at > (PASSES_SECOND.has(node.opType) ? 1 : 0) || node.outputs[0] === undefined)
    return false
  if (node.opType !== 'Conv') return true
  // Strides and dilations may pass over a number, negative padding cuts some off.
  const numbers = (attribute: string): readonly number[] => intsAttribute(node, attribute, [])
  const dense = [...numbers('strides'), ...numbers('dilations')].every((step) => step === 1)
  return dense && numbers('pads').every((pad) => pad >= 0)
}

/**
 * The measured values whose NaN shows in measured values behind them too, so that those need not be looked at.
 *
 * @param measured values that are looked at, or behind which others are.
 */
export function brokenNumbersShowBehind(graph: Graph, measured: ReadonlySet<string>): Set<string> {
  const showing = new Set<string>()
  const shown = new Set<string>()
  // Nodes are sorted: readers come before what they read here.
  for (const node of graph.nodes.toReversed()) {
    const [output] = node.outputs
    if (output === undefined || !(measured.has(output) || showing.has(output))) continue
    for (const input of node.inputs)
      if (passes(node, input)) {
        showing.add(input)
        if (measured.has(input)) shown.add(input)
      }
  }
  return shown
}
