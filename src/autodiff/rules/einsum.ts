/** The gradient of Einsum: for each operand an Einsum of the gradient and the other operands. */
import { fail } from '../../core/index.ts'
import { type Node, stringAttribute } from '../../graph/index.ts'
import { sizeOf } from '../../tensor/index.ts'
import type { Emitter } from '../emitter.ts'
import type { GradientRule, GradientRules } from './rule.ts'

/** The letters of the axes of all operands and of the result. */
interface Equation {
  readonly operands: readonly (readonly string[])[]
  readonly result: readonly string[]
}

/** Reads the equation; axes under an ellipsis get letters of their own, aligned at the right. */
function parse(node: Node, ranks: readonly number[]): Equation {
  const text = stringAttribute(node, 'equation', '').replaceAll(' ', '')
  const [left = '', right] = text.split('->')
  const terms = left.split(',')
  const free = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'].filter((letter) => !text.includes(letter))
  const hidden = Math.max(...terms.map((term, at) => (term.includes('...') ? ranks[at]! - term.length + 3 : 0)))
  const ellipsis = free.slice(0, hidden)
  const letters = (term: string, count: number): string[] => {
    const [before = '', after = ''] = term.split('...')
    return term.includes('...') ? [...before, ...ellipsis.slice(hidden - count), ...after] : [...term]
  }
  const operands = terms.map((term, at) => letters(term, ranks[at]! - term.length + 3))
  if (operands.some((axes) => new Set(axes).size < axes.length))
    fail('UNSUPPORTED', `Einsum '${node.name}': a letter twice in one operand has no gradient rule; it has '${text}'.`)
  if (right !== undefined) return { operands, result: letters(right, hidden) }
  const all = operands.flat().filter((letter) => !ellipsis.includes(letter))
  const once = all.filter((letter) => all.indexOf(letter) === all.lastIndexOf(letter)).sort()
  return { operands, result: [...ellipsis, ...once] }
}

/** A value without its axes of extent 1, and the letters of the others. */
function squeeze(emit: Emitter, x: string, letters: readonly string[]): { value: string; letters: string[] } {
  const shape = emit.shape(x)
  const kept = [...shape.keys()].filter((axis) => shape[axis] !== 1)
  return {
    value: emit.reshape(
      x,
      kept.map((axis) => shape[axis]!),
    ),
    letters: kept.map((axis) => letters[axis]!),
  }
}

/**
 * Axes of extent 1 are left out first, so that those that an ellipsis broadcasts need no treatment of their own: a
 * letter that the operand lacks is summed by the Einsum.
 */
const einsum: GradientRule = ({ emit, node, inputs, gradients: [g], needs }) => {
  const equation = parse(
    node,
    inputs.map((input) => emit.shape(input).length),
  )
  const extents = new Map<string, number>()
  const operands = inputs.map((input, at) => squeeze(emit, input, equation.operands[at]!))
  const seed = squeeze(emit, g!, equation.result)
  for (const { value, letters } of operands)
    for (const [axis, letter] of letters.entries()) extents.set(letter, emit.shape(value)[axis]!)
  return inputs.map((input, at) => {
    if (!needs(at)) return undefined
    const factors = [seed, ...operands.filter((_, other) => other !== at)]
    const wanted = operands[at]!.letters
    const present = wanted.filter((letter) => factors.some(({ letters }) => letters.includes(letter)))
    const terms = factors.map(({ letters }) => letters.join('')).join(',')
    const shape = present.map((letter) => extents.get(letter)!)
    const values = factors.map(({ value }) => value)
    let result = emit.op('Einsum', values, shape, { equation: `${terms}->${present.join('')}` })
    // Axes that were summed within this operand alone: the gradient is the same along them.
    const target = wanted.map((letter) => extents.get(letter)!)
    if (present.length < wanted.length) {
      const spread = wanted.map((letter) => (present.includes(letter) ? extents.get(letter)! : 1))
      result = emit.expand(emit.reshape(result, spread), target)
    }
    return sizeOf(target) === sizeOf(emit.shape(input)) ? emit.reshape(result, emit.shape(input)) : result
  })
}

/** Einstein sums of any number of operands. */
export const EINSUM_RULES: GradientRules = { Einsum: einsum }
