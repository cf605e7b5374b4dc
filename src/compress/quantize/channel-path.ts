/**
 * Paths from one weight layer to the next along which every channel stays by itself, so that a factor per channel can
 * move from the one weight to the other.
 *
 * What may lie between commutes with a positive factor per channel: f(s x) = s f(x). Which of these operators also
 * commute with adding a constant is noted for absorbing biases.
 */
import { GraphIndex, intAttribute, intsAttribute, type Model, type Node, stringAttribute } from '../../graph/index.ts'
import { toFloat64 } from '../../tensor/index.ts'
import type { Skip } from '../method.ts'
import { findSites, type ObservedShapes, type Site } from '../sites.ts'
import { isTransposedInput } from './parameters.ts'

/** How a step passes an added constant on: always, only while values stay positive, or not. */
type Shift = 'all' | 'positive' | 'none'

/** A constant per channel that lies on the path: the bias after a MatMul. */
export interface PathConstant {
  readonly node: Node
  readonly slot: number
}

/** From the output of one layer to the data input of the next. */
export interface ChannelPath {
  readonly first: Site
  readonly second: Site
  /** Nodes between, in order. */
  readonly through: readonly Node[]
  /** Input features of `second` per output channel of `first`, which lie side by side. */
  readonly repeat: number
  readonly shift: Shift
  readonly constants: readonly PathConstant[]
  /** Clips with an upper bound among `through`: they have to become Relu before anything is scaled. */
  readonly clips: readonly { readonly node: Node; readonly most: number }[]
}

/** Paths by the layer they start at, and the layers whose channels go nowhere else, with the reason. */
export interface ChannelPaths {
  readonly paths: readonly ChannelPath[]
  readonly skips: readonly Skip[]
}

/** Which axis of a value holds the channels: 1, the last, or both at once (matrices). */
type Axis = 'second' | 'last' | 'both'

interface Place {
  readonly value: string
  readonly axis: Axis
  readonly flat: boolean
}

interface Passing {
  readonly shift: Shift
  readonly axis?: Axis
  readonly flat?: boolean
  readonly constant?: PathConstant
  readonly clip?: number
}

/**
 * Finds all paths of the main graph.
 *
 * A path ends without a second layer, with a reason, where a value is used several times or is an output, where
 * operators mix channels or do not commute with factors, and where a weight is shared between layers.
 */
export function findChannelPaths(model: Model, shapes: ObservedShapes): ChannelPaths {
  const index = new GraphIndex(model.graph)
  const sites = findSites(model, shapes).sites
  const byNode = new Map(sites.map((site) => [site.name, site]))
  const paths: ChannelPath[] = []
  const skips: Skip[] = []
  for (const site of sites) {
    const found = follow(site, byNode, index, shapes)
    if (typeof found === 'string') skips.push({ name: site.name, reason: found })
    else paths.push(found)
  }
  return { paths, skips }
}

function follow(
  first: Site,
  sites: ReadonlyMap<string, Site>,
  index: GraphIndex,
  shapes: ObservedShapes,
): ChannelPath | string {
  if (index.users(first.weightName).length !== 1) return 'It shares its weight with other layers.'
  const through: Node[] = []
  const constants: PathConstant[] = []
  const clips: { node: Node; most: number }[] = []
  let shift: Shift = 'all'
  let place: Place = { value: first.node.outputs[0]!, axis: startAxis(first), flat: false }
  for (;;) {
    const users = index.users(place.value)
    if (index.isOutput(place.value)) return 'Its output is an output of the network.'
    const [user] = users
    if (!user) return 'Nothing uses its output.'
    if (users.length > 1)
      return `Its output goes to ${users.length} nodes: ${users.map(({ name }) => `'${name}'`).join(', ')}.`
    if (user.inputs.filter((name) => name === place.value).length !== 1)
      return `${user.opType} '${user.name}' uses its output several times or in a subgraph.`
    const second = sites.get(user.name)
    if (second) {
      const repeat = meets(first, second, place, index)
      return typeof repeat === 'string' ? repeat : { first, second, through, repeat, shift, constants, clips }
    }
    const passing = pass(user, place, first.outputs, index, shapes)
    if (typeof passing === 'string') return passing
    through.push(user)
    if (passing.constant) constants.push(passing.constant)
    if (passing.clip !== undefined) clips.push({ node: user, most: passing.clip })
    shift = weaker(shift, passing.clip === undefined ? passing.shift : 'none')
    place = { value: user.outputs[0]!, axis: passing.axis ?? place.axis, flat: passing.flat ?? place.flat }
  }
}

function weaker(a: Shift, b: Shift): Shift {
  if (a === 'none' || b === 'none') return 'none'
  return a === 'positive' || b === 'positive' ? 'positive' : 'all'
}

function startAxis(site: Site): Axis {
  if (site.kind !== 'linear') return 'second'
  return site.op === 'Gemm' || site.outputShape?.length === 2 ? 'both' : 'last'
}

/** Features of the second layer per channel, or why its inputs are not the first one's channels. */
function meets(first: Site, second: Site, place: Place, index: GraphIndex): number | string {
  const what = `${second.op} '${second.name}'`
  if (second.node.inputs[0] !== place.value) return `${what} takes its output as a parameter.`
  if (index.users(second.weightName).length !== 1) return `${what} shares its weight with other layers.`
  if (isTransposedInput(second)) return `${what} reads it transposed.`
  const wanted: Axis = second.kind !== 'linear' ? 'second' : second.op === 'Gemm' ? 'both' : 'last'
  const meet = place.axis === wanted || (place.axis === 'both' && wanted === 'last')
  if (!meet) return `${what} does not take its channels as input channels.`
  const repeat = second.inputs / first.outputs
  if (!Number.isInteger(repeat) || (repeat !== 1 && !place.flat))
    return `${what} has ${second.inputs} inputs for its ${first.outputs} channels.`
  return repeat
}

type Rule = (node: Node, place: Place, channels: number, index: GraphIndex, shapes: ObservedShapes) => Passing | string

const anywhere =
  (shift: Shift): Rule =>
  () => ({ shift })

const spatial =
  (shift: (node: Node) => Shift): Rule =>
  (node, { axis }) =>
    axis === 'second'
      ? { shift: shift(node) }
      : `${node.opType} '${node.name}' does not have its channels along axis 1.`

const always = (): Shift => 'all'

/** Operators that commute with a positive factor per channel. */
const RULES: Readonly<Record<string, Rule>> = {
  Identity: anywhere('all'),
  Dropout: (node, ...rest) => onlyOutput(node) ?? anywhere('all')(node, ...rest),
  Relu: anywhere('positive'),
  LeakyRelu: anywhere('positive'),
  PRelu: (node, place, _, index) =>
    index.constant(node.inputs[1] ?? '') && node.inputs[0] === place.value
      ? { shift: 'positive' }
      : `PRelu '${node.name}' has slopes that are computed.`,
  Clip: (node, _place, _channels, index) => clipRule(node, index),
  MaxPool: (node, ...rest) => onlyOutput(node) ?? spatial(always)(node, ...rest),
  GlobalMaxPool: spatial(always),
  GlobalAveragePool: spatial(always),
  AveragePool: spatial((node) => {
    const padded = intsAttribute(node, 'pads', []).some((pad) => pad !== 0)
    const automatic = stringAttribute(node, 'auto_pad', 'NOTSET').startsWith('SAME')
    const counted = intAttribute(node, 'count_include_pad', 0) !== 0
    return (padded || automatic) && counted ? 'none' : 'all'
  }),
  ReduceMean: reshapeRule,
  ReduceMax: reshapeRule,
  Flatten: reshapeRule,
  Reshape: reshapeRule,
  Squeeze: reshapeRule,
  Unsqueeze: reshapeRule,
  Resize: resizeRule,
  Upsample: resizeRule,
  Pad: padRule,
  Add: addRule,
}

function pass(node: Node, place: Place, channels: number, index: GraphIndex, shapes: ObservedShapes): Passing | string {
  const rule = node.domain === '' && Object.hasOwn(RULES, node.opType) ? RULES[node.opType] : undefined
  if (rule) return rule(node, place, channels, index, shapes)
  if (node.opType === 'BatchNormalization') return `BatchNormalization '${node.name}' is not folded into it.`
  return `${node.opType} '${node.name}' follows, through which factors per channel do not pass.`
}

/** Outputs beside the first one do not commute. */
function onlyOutput(node: Node): string | undefined {
  return node.outputs.slice(1).some((name) => name !== '')
    ? `${node.opType} '${node.name}' has a second output.`
    : undefined
}

function clipRule(node: Node, index: GraphIndex): Passing | string {
  const bound = (slot: number, attribute: string): number | string | undefined => {
    const found = node.attributes.get(attribute)
    if (found?.kind === 'float') return found.value
    const name = node.inputs[slot] ?? ''
    if (name === '') return undefined
    const tensor = index.constant(name)
    return tensor ? toFloat64(tensor)[0] : 'computed'
  }
  const least = bound(1, 'min') ?? Number.NEGATIVE_INFINITY
  const most = bound(2, 'max') ?? Number.POSITIVE_INFINITY
  const where = `Clip '${node.name}'`
  if (typeof least === 'string' || typeof most === 'string') return `${where} has bounds that are computed.`
  if (least !== 0) return `${where} cuts at ${least}, not at 0.`
  return most > 3e38 ? { shift: 'positive' } : { shift: 'none', clip: most }
}

/** Reductions and reshapes that keep batch and channels, or lay each channel's positions side by side. */
function reshapeRule(
  node: Node,
  place: Place,
  channels: number,
  index: GraphIndex,
  shapes: ObservedShapes,
): Passing | string {
  const before = shapes.get(place.value)?.shape
  const after = shapes.get(node.outputs[0] ?? '')?.shape
  const where = `${node.opType} '${node.name}'`
  if (!before || !after) return `The shapes around ${where} are not known.`
  if (place.axis === 'last' || (!place.flat && before[1] !== channels))
    return `${where} does not have its channels along axis 1.`
  if (before[0] !== after[0] || before.length < 2 || after.length < 2) return `${where} mixes the batch with channels.`
  const reduces = node.opType === 'ReduceMean' || node.opType === 'ReduceMax'
  if (after[1] === before[1]) {
    // Equal extents do not prove that axis 1 was kept: a reduction over it with as many rows would look alike.
    if (reduces && after.length < before.length && !keepsChannels(node, before.length, index))
      return `${where} may reduce over its channels.`
    return { shift: 'all', axis: after.length === 2 ? 'both' : 'second' }
  }
  const positions = before.slice(2).reduce((product, extent) => product * extent, 1)
  if (!reduces && after.length === 2 && after[1] === before[1]! * positions)
    return { shift: 'all', axis: 'both', flat: true }
  return `${where} mixes its channels.`
}

/** Whether a reduction names axes from 2 on. */
function keepsChannels(node: Node, rank: number, index: GraphIndex): boolean {
  const given = index.constant(node.inputs[1] ?? '')
  const axes = given ? Array.from(toFloat64(given)) : intsAttribute(node, 'axes', [])
  return axes.length > 0 && axes.every((axis) => (axis < 0 ? axis + rank : axis) >= 2)
}

function resizeRule(node: Node, place: Place, _: number, __: GraphIndex, shapes: ObservedShapes): Passing | string {
  const before = shapes.get(place.value)?.shape
  const after = shapes.get(node.outputs[0] ?? '')?.shape
  const kept = before && after && before[0] === after[0] && before[1] === after[1]
  if (place.axis !== 'second' || !kept) return `${node.opType} '${node.name}' may change its channels.`
  return { shift: stringAttribute(node, 'coordinate_transformation_mode', '').startsWith('tf_crop') ? 'none' : 'all' }
}

function padRule(node: Node, place: Place, _: number, index: GraphIndex, shapes: ObservedShapes): Passing | string {
  const before = shapes.get(place.value)?.shape
  const after = shapes.get(node.outputs[0] ?? '')?.shape
  const where = `Pad '${node.name}'`
  if (place.axis !== 'second' || !before || !after || before[0] !== after[0] || before[1] !== after[1])
    return `${where} may pad its channels.`
  if (stringAttribute(node, 'mode', 'constant') !== 'constant') return { shift: 'all' }
  const name = node.inputs[2] ?? ''
  const constant = name === '' ? undefined : index.constant(name)
  const value = name === '' ? (node.attributes.get('value') ?? undefined) : undefined
  const zero = name === '' ? value?.kind !== 'float' || value.value === 0 : constant && toFloat64(constant)[0] === 0
  return zero ? { shift: 'none' } : `${where} pads with a number other than 0.`
}

/** A constant per channel after a MatMul. */
function addRule(node: Node, place: Place, channels: number, index: GraphIndex): Passing | string {
  const slot = node.inputs[0] === place.value ? 1 : 0
  const tensor = index.constant(node.inputs[slot] ?? '')
  if (!tensor) return `Add '${node.name}' joins it with another branch.`
  const { shape, size } = tensor
  const along = place.axis !== 'second' && size === channels && shape[shape.length - 1] === channels
  if (!along || place.flat) return `Add '${node.name}' adds a constant of shape [${shape.join(', ')}] to it.`
  return { shift: 'all', constant: { node, slot } }
}
