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
export { assertModel, checkModel, type Problem } from './check.ts'
export { type ModelCost, modelCost, modelWeights, type NodeCost, type Shapes } from './cost.ts'
export { definedNames, removeNodes, replaceUses } from './edit.ts'
export type { Evaluator, Executable, LoadOptions, TensorMap } from './evaluator.ts'
export { GraphIndex } from './graph-index.ts'
export { mergeModels } from './merge.ts'
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
export { modelHash } from './model-hash.ts'
export { ensureUniqueNames, NameGenerator } from './names.ts'
export { WEIGHT_FACTS, type WeightFacts, weightFactsOf } from './operators.ts'
export {
  CANONICAL_OPSET,
  canonical,
  constantsToInitializers,
  constantTensor,
  foldBatchNorm,
  foldConstants,
  freezeInitializers,
  liftOpset,
  type Pass,
  type PassContext,
  type PassResult,
  removeIdentity,
  removeUnused,
  removeUnusedFrom,
  runPasses,
  SIMPLIFY_PASSES,
  simplify,
} from './passes/index.ts'
export {
  capturedNames,
  forEachGraph,
  forEachModelNode,
  forEachNode,
  sortNodes,
  topologicalOrder,
  usedNames,
} from './traverse.ts'
