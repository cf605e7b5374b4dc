/**
 * `decompose_info.json`: the structure of a decomposed network, to be rebuilt on a fresh one.
 *
 * For 2-D spatial layers the entries are AMCT's, field for field, with its mode names and its layer names (PyTorch
 * modules: the weight's name without `.weight`). Other forms have modes of their own and what AMCT's fields cannot say
 * (`op`, `variant`, `ranks`). AMCT's reader takes every entry of the list for a Conv2d of its four modes, so in a mixed
 * file the other entries hide in a field of the first that it does not look at.
 */
import { fail, type Json } from '../../core/index.ts'
import type { Site } from '../sites.ts'
import { type AmctMode, modeOfVariant, variantOfMode } from './amct.ts'
import type { StepOutcome } from './apply.ts'
import type { FormName } from './stage.ts'

/** One decomposed layer. */
export type DecomposeInfoEntry = {
  readonly ori_layer_info: {
    readonly name: string
    readonly in_channels: number
    readonly out_channels: number
    readonly kernel_size: readonly number[]
    readonly stride: readonly number[]
    readonly dilation: readonly number[]
    readonly groups: number
    /** Operator; ours, absent on AMCT's entries. */
    readonly op?: string
  }
  /** AMCT's FCFK, FCSK, SCFK or SCSK for 2-D spatial layers, else one of ours: `TUCKER2`, `CP` … */
  readonly mode: string
  readonly decom_nodes: Readonly<
    Record<
      string,
      {
        readonly weight_shape: readonly number[]
        /** Ours, absent on AMCT's entries. */
        readonly weight_name?: string
        /** Ours: the bias of `last`, where fitting to data changed or added one. */
        readonly bias_name?: string
      }
    >
  >
  /** Ours: how to rebuild forms that AMCT does not have. */
  readonly variant?: string
  readonly ranks?: Readonly<Record<string, number>>
}

/** The content of `decompose_info.json`. */
export type DecomposeInfo = readonly DecomposeInfoEntry[]

const MODES: Readonly<Record<FormName, string>> = {
  tucker: 'TUCKER2',
  channel: 'CHANNEL',
  svd: 'SVD',
  spatial: 'SPATIAL',
  cp: 'CP',
  tt: 'TT',
}
const AMCT_MODES: ReadonlySet<string> = new Set(['FCFK', 'FCSK', 'SCFK', 'SCSK'])

/** Whether a layer's entry is one that AMCT reads. */
function isAmctEntry(site: Site, form: FormName): boolean {
  return form === 'spatial' && site.kind === 'convolution' && site.kernel.length === 2 && site.group === 1
}

/** Describes what was applied. */
export function decomposeInfo(sites: ReadonlyMap<string, Site>, outcomes: readonly StepOutcome[]): DecomposeInfo {
  const count = new Map<string, number>()
  for (const site of sites.values())
    for (const name of new Set([site.name, layerName(site)])) count.set(name, (count.get(name) ?? 0) + 1)
  return outcomes.map(({ step, weights, fittedBias }): DecomposeInfoEntry => {
    const site = sites.get(step.site)!
    const bias = (role: string) => (role === 'last' && fittedBias !== undefined ? { bias_name: fittedBias } : {})
    const layer = {
      // Sites that share a weight share the module's name; then only the node tells them apart.
      name: count.get(layerName(site)) === 1 ? layerName(site) : site.name,
      in_channels: site.inputs,
      out_channels: site.outputs,
      kernel_size: site.kernel,
      stride: site.strides,
      dilation: site.dilations,
      groups: site.group,
    }
    if (isAmctEntry(site, step.form))
      return {
        ori_layer_info: layer,
        mode: modeOfVariant(site, step.variant),
        decom_nodes: Object.fromEntries(
          weights.map(({ role, shape }) => [role, { weight_shape: shape, ...bias(role) }]),
        ),
      }
    return {
      ori_layer_info: { ...layer, op: site.op },
      mode: MODES[step.form],
      decom_nodes: Object.fromEntries(
        weights.map(({ role, shape, name }) => [role, { weight_shape: shape, weight_name: name, ...bias(role) }]),
      ),
      variant: step.variant,
      ranks: step.ranks,
    }
  })
}

/** AMCT's name of a layer: the PyTorch module where the weight tells it, else the node. */
export function layerName(site: Site): string {
  return site.weightName.endsWith('.weight') ? site.weightName.slice(0, -'.weight'.length) : site.name
}

/** Where a mixed file keeps the entries that AMCT does not know. */
const EXTENSION = 'whittle_layers'

/** The text of `decompose_info.json`, indented by tabs as AMCT does. */
export function formatDecomposeInfo(info: DecomposeInfo): string {
  const known = info.filter((entry) => AMCT_MODES.has(entry.mode))
  const others = info.filter((entry) => !AMCT_MODES.has(entry.mode))
  const [first, ...rest] = known
  const list = first && others.length > 0 ? [{ ...first, [EXTENSION]: others }, ...rest] : info
  return `${JSON.stringify(list, undefined, '\t')}\n`
}

/** Form, variant and ranks that an entry stands for. */
export function stepOfEntry(entry: DecomposeInfoEntry): {
  form: FormName
  variant: string
  ranks: Readonly<Record<string, number>>
} {
  if (AMCT_MODES.has(entry.mode)) {
    const mode = entry.mode as AmctMode
    return { form: 'spatial', variant: variantOfMode(mode), ranks: { rank: entry.decom_nodes.first!.weight_shape[0]! } }
  }
  const form = (Object.keys(MODES) as FormName[]).find((name) => MODES[name] === entry.mode)
  if (!form || entry.variant === undefined || !entry.ranks)
    fail(
      'INVALID_FILE',
      `Layer '${entry.ori_layer_info.name}': mode must be one of AMCT's, ${[...AMCT_MODES].join(', ')}, or one of ` +
        `${Object.values(MODES).join(', ')} with 'variant' and 'ranks'; got '${entry.mode}'.`,
    )
  return { form, variant: entry.variant, ranks: entry.ranks }
}

/**
 * Reads `decompose_info.json`, AMCT's or ours.
 *
 * @throws WhittleError `INVALID_FILE` naming the entry and the field.
 */
export function parseDecomposeInfo(text: string): DecomposeInfo {
  let parsed: Json
  try {
    parsed = JSON.parse(text) as Json
  } catch (cause) {
    return fail('INVALID_FILE', `decompose_info.json is not valid JSON: ${(cause as Error).message}.`, { cause })
  }
  if (!Array.isArray(parsed)) return fail('INVALID_FILE', 'decompose_info.json must be a list of layers.')
  const list = parsed.flatMap((entry: Json): readonly Json[] => {
    if (entry === null || typeof entry !== 'object' || !(EXTENSION in entry)) return [entry]
    const { [EXTENSION]: others, ...known } = entry as { readonly [key: string]: Json }
    return Array.isArray(others) ? [known, ...others] : [known]
  })
  return list.map(checkEntry)
}

function checkEntry(entry: Json, index: number): DecomposeInfoEntry {
  const where = `decompose_info.json, entry ${index + 1}`
  const object = asObject(entry, where)
  const layer = asObject(object.ori_layer_info, `${where}, ori_layer_info`)
  if (typeof layer.name !== 'string') fail('INVALID_FILE', `${where}: 'name' must be a string.`)
  for (const field of ['in_channels', 'out_channels', 'groups'])
    checkCount(layer[field], `${where} ('${layer.name}'), ${field}`)
  for (const field of ['kernel_size', 'stride', 'dilation'])
    checkCounts(layer[field], `${where} ('${layer.name}'), ${field}`)
  if (typeof object.mode !== 'string') fail('INVALID_FILE', `${where} ('${layer.name}'): 'mode' must be a string.`)
  const nodes = asObject(object.decom_nodes, `${where}, decom_nodes`)
  for (const role of ['first', 'last'])
    if (!(role in nodes)) fail('INVALID_FILE', `${where} ('${layer.name}'): decom_nodes must have '${role}'.`)
  for (const [role, node] of Object.entries(nodes)) {
    const { weight_shape, bias_name } = asObject(node, `${where}, ${role}`)
    checkCounts(weight_shape, `${where} ('${layer.name}'), ${role}.weight_shape`, 1)
    if (bias_name !== undefined && typeof bias_name !== 'string')
      fail('INVALID_FILE', `${where} ('${layer.name}'): '${role}.bias_name' must be a string.`)
  }
  if (object.ranks !== undefined)
    for (const [role, rank] of Object.entries(asObject(object.ranks, `${where}, ranks`)))
      checkCount(rank, `${where} ('${layer.name}'), ranks.${role}`)
  return entry as DecomposeInfoEntry
}

function asObject(value: Json | undefined, where: string): { readonly [key: string]: Json } {
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    return fail('INVALID_FILE', `${where}: must be an object.`)
  return value as { readonly [key: string]: Json }
}

function checkCount(value: Json | undefined, where: string): void {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1)
    fail('INVALID_FILE', `${where}: must be a whole number of at least 1; got ${JSON.stringify(value)}.`)
}

function checkCounts(value: Json | undefined, where: string, least = 0): void {
  if (!Array.isArray(value) || value.length < least)
    fail('INVALID_FILE', `${where}: must be a list of whole numbers; got ${JSON.stringify(value)}.`)
  for (const item of value as readonly Json[]) checkCount(item, where)
}
