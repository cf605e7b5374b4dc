/** What a student takes from its teacher: logits, outputs and inner values, computed in a session of their own. */
import type { Typed } from '../autodiff/index.ts'
import { fail } from '../core/index.ts'
import { cloneModel, type Graph, GraphIndex, intAttribute, type Model, removeUnusedFrom } from '../graph/index.ts'
import { type FeaturePair, type LossTerm, needsOf } from './losses.ts'

/** The teacher as a training step sees it. */
export interface TeacherValues {
  /** The teacher with exactly the outputs that are needed. */
  readonly model: Model
  /** The teacher's inputs, and which of the student's, by position, each is. */
  readonly sources: readonly { readonly input: string; readonly from: number }[]
  /** Inputs of the step, and the teacher's output that each is. */
  readonly inputs: readonly { readonly input: string; readonly output: string; readonly type: Typed }[]
  /** Inputs of the step with the teacher's logits and output, when the loss uses them. */
  readonly logits: string | undefined
  readonly output: string | undefined
  /** Pairs of the student's value and the input with the teacher's, by term of the loss. */
  readonly features: ReadonlyMap<LossTerm, readonly (readonly [string, string])[]>
}

/** The scores before a final softmax, else the output itself: a log-softmax of log-probabilities changes nothing. */
export function logitsOf(graph: Graph, output: string): string {
  const producer = new GraphIndex(graph).producer(output)
  if (producer?.opType !== 'Softmax' || producer.domain !== '') return output
  const axis = intAttribute(producer, 'axis', -1)
  return axis === 1 || axis === -1 ? producer.inputs[0]! : output
}

/** A value by its own name or by the name of the node that produces it. */
function valueNamed(graph: Graph, name: string, whose: string): string {
  const node = graph.nodes.find((candidate) => candidate.name === name)
  if (node) return node.outputs[0]!
  if (graph.nodes.some((candidate) => candidate.outputs.includes(name))) return name
  return fail('NOT_FOUND', `Loss 'features': the ${whose} has no layer and no value '${name}'.`)
}

interface Student {
  readonly graph: Graph
  readonly types: ReadonlyMap<string, Typed>
  readonly output: string
}

/**
 * Works out what a loss needs of a teacher.
 *
 * @throws WhittleError `INVALID_ARGUMENT` when the teacher's inputs are not the student's; `SHAPE_MISMATCH` when values
 *   that are compared differ in shape; `NOT_FOUND` for unknown layers.
 */
export function teacherValues(
  teacher: { readonly model: Model; readonly types: ReadonlyMap<string, Typed> },
  terms: readonly LossTerm[],
  student: Student,
): TeacherValues {
  const { model, types } = teacher
  const sources = matchInputs(model, types, student)
  const [first] = model.graph.outputs
  if (!first) fail('INVALID_ARGUMENT', 'Teacher: must have an output; it has none.')
  const inputs = new Map<string, { input: string; output: string; type: Typed }>()
  const take = (value: string, like: string): string => {
    const type = types.get(value)
    const own = student.types.get(like)
    if (!type || !own || type.shape.join() !== own.shape.join() || type.dtype !== own.dtype)
      fail(
        'SHAPE_MISMATCH',
        `Teacher: its value '${value}' must have the shape of the student's '${like}', ${describe(own)}; it has ${describe(type)}.`,
      )
    const input = `teacher/${value}`
    inputs.set(input, { input, output: value, type })
    return input
  }
  const logits = terms.some((term) => term.kind === 'distillation')
    ? take(logitsOf(model.graph, first.name), logitsOf(student.graph, student.output))
    : undefined
  const output = terms.some((term) => term.kind === 'mse' && needsOf(term) === 'teacher')
    ? take(first.name, student.output)
    : undefined
  const features = new Map<LossTerm, readonly (readonly [string, string])[]>()
  for (const term of terms)
    if (term.kind === 'features')
      features.set(
        term,
        term.layers.map((pair) => {
          const own = valueNamed(student.graph, nameIn(pair, 'student'), 'student')
          return [own, take(valueNamed(model.graph, nameIn(pair, 'teacher'), 'teacher'), own)]
        }),
      )
  const cut = cloneModel(model)
  cut.graph.outputs = [...inputs.values()].map((entry) => ({ name: entry.output, type: undefined }))
  removeUnusedFrom(cut)
  return { model: cut, sources, inputs: [...inputs.values()], logits, output, features }
}

function nameIn(pair: FeaturePair, role: 'student' | 'teacher'): string {
  return typeof pair === 'string' ? pair : pair[role]
}

function describe(type: Typed | undefined): string {
  return type ? `${type.dtype} [${type.shape.join(', ')}]` : 'an unknown one'
}

/** By name where all names are the student's, else by position. */
function matchInputs(model: Model, types: ReadonlyMap<string, Typed>, student: Student): TeacherValues['sources'] {
  const own = student.graph.inputs.map(({ name }) => name)
  const names = model.graph.inputs.map(({ name }) => name)
  const byName = names.every((name) => own.includes(name))
  return names.map((name, position) => {
    const from = byName ? own.indexOf(name) : position
    const found = from < own.length ? student.types.get(own[from]!) : undefined
    if (!found || found.shape.join() !== types.get(name)?.shape.join())
      fail(
        'INVALID_ARGUMENT',
        `Teacher: its input '${name}', ${describe(types.get(name))}, must be an input of the model, which has ${own.map((input) => `'${input}', ${describe(student.types.get(input))}`).join('; ')}.`,
      )
    return { input: name, from }
  })
}
