/** Replay: rebuilds a decomposed structure on a fresh model from `decompose_info.json`, and loads saved weights. */
import { fail } from '../../core/index.ts'
import { cloneModel, type Model, modelHash } from '../../graph/index.ts'
import type { Tensor } from '../../tensor/index.ts'
import type { Skip } from '../method.ts'
import { findSites, type ObservedShapes, type Site } from '../sites.ts'
import { variantOf } from './apply.ts'
import { chainCost, siteCost } from './chain-cost.ts'
import { type DecomposeInfo, type DecomposeInfoEntry, layerName, stepOfEntry } from './info.ts'
import { stageShape } from './kernel.ts'
import { LOW_RANK_PLAN_VERSION, type LowRankPlan, type LowRankStep } from './step.ts'

/**
 * The plan that `decompose_info.json` describes for a model.
 *
 * @throws WhittleError `PLAN_MISMATCH` when a layer is missing or one of its parameters differs.
 */
export function planFromInfo(model: Model, info: DecomposeInfo, shapes?: ObservedShapes): LowRankPlan {
  const { sites, skips } = findSites(model, shapes)
  // AMCT names modules, we fall back to nodes; either finds the layer.
  const byName = new Map(sites.map((site) => [site.name, site]))
  for (const site of sites) if (!byName.has(layerName(site))) byName.set(layerName(site), site)
  const listed = new Set(info.map((entry) => entry.ori_layer_info.name))
  if (listed.size !== info.length) {
    const seen = new Set<string>()
    const twice = info.find((entry) => seen.size === seen.add(entry.ori_layer_info.name).size)!
    fail('INVALID_FILE', `decompose_info.json lists layer '${twice.ori_layer_info.name}' more than once.`)
  }
  const steps = info.map((entry) => stepFor(entry, byName))
  const planned = new Set(steps.map((step) => step.site))
  const others: Skip[] = sites
    .filter((site) => !planned.has(site.name))
    .map((site) => ({ name: site.name, reason: 'decompose_info.json does not list it.' }))
  return {
    method: 'low-rank',
    version: LOW_RANK_PLAN_VERSION,
    model: modelHash(model),
    seed: 0,
    steps: sites.flatMap((site) => steps.filter((step) => step.site === site.name)),
    skips: [...skips, ...others],
    warnings: [],
  }
}

function stepFor(entry: DecomposeInfoEntry, sites: ReadonlyMap<string, Site>): LowRankStep {
  const layer = entry.ori_layer_info
  const site = sites.get(layer.name)
  if (!site)
    fail(
      'PLAN_MISMATCH',
      `Layer '${layer.name}' of decompose_info.json is not in the model. Use the model it was made for.`,
    )
  const pairs: readonly [string, unknown, unknown][] = [
    ['in_channels', layer.in_channels, site.inputs],
    ['out_channels', layer.out_channels, site.outputs],
    ['kernel_size', layer.kernel_size, site.kernel],
    ['stride', layer.stride, site.strides],
    ['dilation', layer.dilation, site.dilations],
    ['groups', layer.groups, site.group],
    ['op', layer.op ?? 'Conv', site.op],
  ]
  for (const [field, expected, found] of pairs)
    if (JSON.stringify(expected) !== JSON.stringify(found))
      fail(
        'PLAN_MISMATCH',
        `'${field}' of layer '${site.name}' does not match the original model: decompose_info.json says ` +
          `${JSON.stringify(expected)}, the model ${JSON.stringify(found)}. Check the model definition and the decomposition information file.`,
      )
  const { form, variant, ranks } = stepOfEntry(entry)
  const chosen = variantOf(site, { form, variant, ranks })
  const stages = chosen.stages(ranks)
  for (const stage of stages) {
    const expected = stageShape(site, stage)
    const found = entry.decom_nodes[stage.role]?.weight_shape
    if (JSON.stringify(found) !== JSON.stringify(expected))
      fail(
        'PLAN_MISMATCH',
        `Layer '${site.name}': '${stage.role}' must have weight shape [${expected.join(', ')}] for its mode and rank; ` +
          `decompose_info.json says [${found?.join(', ') ?? ''}].`,
      )
  }
  const before = siteCost(site)
  const after = chainCost(site, stages)
  return {
    site: site.name,
    op: site.op,
    form,
    variant,
    ranks,
    parameters: { before: before.parameters, after: after.parameters },
    macs: { before: before.macs, after: after.macs },
    estimatedError: null,
    dataAware: false,
    ...(entry.decom_nodes.last?.bias_name === undefined ? {} : { shiftsBias: true }),
  }
}

/**
 * A clone of a model whose initializers are taken from saved weights of the same names.
 *
 * @param weights tensors by name; names the model does not have are an error, names it has but the weights lack stay.
 * @returns the model and the names that were not replaced.
 * @throws WhittleError `PLAN_MISMATCH` when shapes or types differ or nothing fits.
 */
export function loadWeights(
  model: Model,
  weights: ReadonlyMap<string, Tensor>,
): { model: Model; kept: readonly string[] } {
  const result = cloneModel(model)
  const { initializers } = result.graph
  const missing = [...weights.keys()].filter((name) => !initializers.has(name))
  if (missing.length > 0)
    fail(
      'PLAN_MISMATCH',
      `The weights hold '${missing[0]}'${missing.length > 1 ? ` and ${missing.length - 1} more` : ''}, which the rebuilt model does not have. ` +
        'Give the weights that were saved with this decompose_info.json.',
    )
  for (const [name, tensor] of weights) {
    const present = initializers.get(name)!
    if (present.dtype !== tensor.dtype || present.shape.join() !== tensor.shape.join())
      fail(
        'PLAN_MISMATCH',
        `Weight '${name}': the rebuilt model needs ${present.dtype} [${present.shape.join(', ')}]; ` +
          `the weights have ${tensor.dtype} [${tensor.shape.join(', ')}].`,
      )
    initializers.set(name, tensor)
  }
  return { model: result, kept: [...initializers.keys()].filter((name) => !weights.has(name)) }
}
