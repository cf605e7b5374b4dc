import { describe, expect, it } from 'vitest'
import { randomTensor } from '../../test/support/tensors.ts'
import { WhittleError } from '../core/index.ts'
import { Tensor } from '../tensor/index.ts'
import { float, makeAttribute } from './attributes.ts'
import { createNode, GraphBuilder } from './builder.ts'
import { assertModel, checkModel } from './check.ts'
import { createGraph, type Graph, type Model, tensorType } from './model.ts'

/** x → Conv 'conv' → Relu 'relu' → y */
function good(): Model {
  const b = new GraphBuilder()
  const x = b.input('x', 'float32', [1, 2, 5, 5])
  b.graph.initializers.set('w', randomTensor([4, 2, 3, 3], 1))
  b.graph.nodes.push(
    createNode('Conv', [x, 'w'], ['middle'], { kernel_shape: [3, 3] }, 'conv'),
    createNode('Relu', ['middle'], ['y'], {}, 'relu'),
  )
  b.output('y', 'float32')
  return b.model()
}

function branch(nodes: Graph['nodes'], output: string): Graph {
  const graph = createGraph('branch')
  graph.nodes = nodes
  graph.outputs.push({ name: output, type: tensorType('float32', undefined) })
  return graph
}

const messages = (model: Model): string[] => checkModel(model).map(({ code, message }) => `${code} ${message}`)

describe('checkModel', () => {
  it('finds nothing in a good model', () => {
    expect(checkModel(good())).toEqual([])
  })

  const breaks: [string, (model: Model) => void, string[]][] = [
    [
      'a missing initializer',
      ({ graph }) => graph.initializers.delete('w'),
      [
        "UNDEFINED_VALUE Conv 'conv': its input 'w' must be a graph input, an initializer or another node's output; nothing defines it.",
      ],
    ],
    [
      'an output that nothing defines',
      ({ graph }) => graph.outputs.push({ name: 'z', type: undefined }),
      ["UNDEFINED_VALUE Output 'z': must be an input, an initializer or a node's output; nothing defines it."],
    ],
    [
      'no outputs at all',
      ({ graph }) => graph.outputs.splice(0),
      ['NO_OUTPUTS Graph: must have at least one output; it has none.'],
    ],
    [
      'a value defined twice',
      ({ graph }) => graph.nodes.push(createNode('Neg', ['x'], ['y'], {}, 'neg')),
      ["DUPLICATE_VALUE Neg 'neg', output 'y': a value must be defined only once."],
    ],
    [
      'two nodes with one name',
      ({ graph }) => graph.nodes.push(createNode('Neg', ['x'], ['z'], {}, 'relu')),
      ["DUPLICATE_NODE Neg 'relu': node names must be unique."],
    ],
    [
      'a cycle',
      ({ graph }) => {
        graph.nodes[0]!.inputs[0] = 'y'
      },
      ["CYCLE Conv 'conv': the graph must have no cycles; this node needs its own output."],
    ],
    [
      'a wrong order',
      ({ graph }) => graph.nodes.reverse(),
      ["NOT_SORTED Relu 'relu': nodes must come after those they need; this one comes before."],
    ],
    [
      'a domain that is not imported',
      ({ graph }) => {
        graph.nodes[1]!.domain = 'com.example'
      },
      ["MISSING_OPSET Relu 'relu': the model must import its operator set 'com.example'; it imports 'ai.onnx'."],
    ],
    [
      'a node without operator and outputs',
      ({ graph }) => graph.nodes.push(createNode('', ['x'], [''], {}, 'odd')),
      [
        "NO_OPERATOR Node 'odd': must have an operator; it has none.",
        "NO_OUTPUTS Node 'odd': must have at least one output; it has none.",
      ],
    ],
    [
      'an attribute of the wrong kind',
      ({ graph }) => graph.nodes[0]!.attributes.set('strides', makeAttribute(float(2))),
      ["BAD_ATTRIBUTE Conv 'conv': attribute 'strides' must be of type ints; it is float."],
    ],
    [
      'strides that do not fit the weight',
      ({ graph }) => graph.nodes[0]!.attributes.set('strides', makeAttribute([2, 0, 1])),
      [
        "BAD_ATTRIBUTE Conv 'conv': attribute 'strides' must have 2 numbers of at least 1 for a weight [4, 2, 3, 3]; got [2, 0, 1].",
      ],
    ],
    [
      'a kernel that is not the weight’s',
      ({ graph }) => graph.nodes[0]!.attributes.set('kernel_shape', makeAttribute([3, 5])),
      ["BAD_WEIGHT Conv 'conv': its weight [4, 2, 3, 3] must end with kernel_shape; that is [3, 5]."],
    ],
    [
      'groups that do not divide the channels',
      ({ graph }) => graph.nodes[0]!.attributes.set('group', makeAttribute(3)),
      ["BAD_ATTRIBUTE Conv 'conv': attribute 'group' must divide the first axis of its weight [4, 2, 3, 3]; it is 3."],
    ],
    [
      'a bias of the wrong length',
      ({ graph }) => {
        graph.initializers.set('b', randomTensor([3], 1))
        graph.nodes[0]!.inputs.push('b')
      },
      ["BAD_WEIGHT Conv 'conv': its bias must have 4 numbers; it has shape [3]."],
    ],
    [
      'a weight with too few axes',
      ({ graph }) => graph.initializers.set('w', randomTensor([4, 2], 1)),
      ["BAD_WEIGHT Conv 'conv': its weight must have at least 3 axes; it has shape [4, 2]."],
    ],
    [
      'a subgraph that reads an unknown name, or defines one again',
      ({ graph }) => {
        graph.initializers.set('c', Tensor.of(Uint8Array.of(1), [], 'bool'))
        const inner = branch(
          [createNode('Neg', ['nowhere'], ['middle'], {}, 'n'), createNode('Abs', ['y'], ['o'], {}, 'a')],
          'o',
        )
        graph.nodes.push(createNode('If', ['c'], ['z'], { then_branch: inner }, 'if'))
      },
      [
        "UNDEFINED_VALUE If 'if': its input 'nowhere' must be a graph input, an initializer or another node's output; nothing defines it.",
        "UNDEFINED_VALUE Neg 'n': its input 'nowhere' must be a graph input, an initializer or another node's output; nothing defines it.",
        "DUPLICATE_VALUE Neg 'n', output 'middle': a value must be defined only once.",
      ],
    ],
    [
      'a function that reads an unknown name',
      (model) =>
        model.functions.push({
          name: 'Twice',
          domain: 'local',
          overload: '',
          inputs: ['a'],
          outputs: ['b', 'd'],
          attributes: [],
          attributeDefaults: new Map(),
          nodes: [createNode('Add', ['a', 'c'], ['b'], {}, 'add')],
          opsets: new Map([['', 17]]),
        }),
      [
        "UNDEFINED_VALUE Function 'Twice': Add 'add': its input 'c' must be a graph input, an initializer or another node's output; nothing defines it.",
        "UNDEFINED_VALUE Function 'Twice': Output 'd': nothing in the function defines it.",
      ],
    ],
  ]
  it.each(breaks)('finds %s', (_, damage, expected) => {
    const model = good()
    damage(model)
    expect(messages(model)).toEqual(expected)
  })
})

describe('assertModel', () => {
  it('throws the first problem and counts the others', () => {
    const model = good()
    model.graph.initializers.delete('w')
    model.graph.outputs.push({ name: 'z', type: undefined })
    const attempt = () => assertModel(model)
    expect(attempt).toThrow(WhittleError)
    expect(attempt).toThrow(
      "Conv 'conv': its input 'w' must be a graph input, an initializer or another node's output; nothing defines it. (and 1 more)",
    )
    expect(() => assertModel(good())).not.toThrow()
  })
})
