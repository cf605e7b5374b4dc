export {
  type AttributeInput,
  float,
  floatAttribute,
  intAttribute,
  intsAttribute,
  makeAttribute,
  makeAttributes,
  stringAttribute,
  subgraphsOf,
  tensorAttribute,
} from './attributes.ts'
export { createNode, GraphBuilder } from './builder.ts'
export type { Evaluator, Executable, LoadOptions, TensorMap } from './evaluator.ts'
export { GraphIndex } from './graph-index.ts'
export {
  type Attribute,
  cloneGraph,
  cloneModel,
  cloneNode,
  createGraph,
  createModel,
  type Dimension,
  type FunctionDefinition,
  type Graph,
  type Model,
  type Node,
  type Preserved,
  tensorType,
  type ValueInfo,
  type ValueType,
} from './model.ts'
export { ensureUniqueNames, NameGenerator } from './names.ts'
export { WEIGHT_FACTS, type WeightFacts, weightFactsOf } from './operators.ts'
export { capturedNames, forEachGraph, forEachModelNode, forEachNode, topologicalOrder, usedNames } from './traverse.ts'
