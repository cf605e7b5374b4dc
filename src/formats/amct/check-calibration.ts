/** Ranges of AMCT's simplified configuration: the JSON's rules, at the places of the `.cfg` file. */
import { refuseAt, type TextSource } from '../source.ts'
import { hfmgParams, ifmrParams, layerParams } from './calibration-params.ts'
import type { AmctCalibration, AmctCalibrationConfig } from './calibration-schema.ts'
import { SEARCH_RANGE } from './quant-json.ts'
import type { AmctActivationParams } from './quant-json-fields.ts'

/** Checks every number of a configuration. @throws WhittleError `INVALID_FILE` with the place of the first bad one. */
export function checkCalibrationRanges(message: AmctCalibrationConfig, source: TextSource): void {
  const entries = [
    message.common_config,
    message.conv_calibration_config,
    message.fc_calibration_config,
    ...message.override_layer_types.map((each) => each.calibration_config),
    ...message.override_layer_configs.map((each) => each.calibration_config),
  ]
  if (message.batch_num === 0) refuseAt(source, message, 'batch_num', "'batch_num' must be at least 1; got 0.")
  for (const entry of entries) if (entry) checkCalibration(entry, source)
}

/** Ranges of one message; the JSON's rules, at the places of the simplified configuration. */
function checkCalibration(entry: AmctCalibration, source: TextSource): void {
  const refuse = (holder: object, field: string, rule: string, value: unknown): never =>
    refuseAt(source, holder, field, `'${field}' must be ${rule}; got ${value}.`)
  const { ifmr_quantize: ifmr, hfmg_quantize: hfmg, arq_quantize: arq, ada_quantize: ada, nuq_quantize: nuq } = entry
  if (ifmr) checkIfmr(ifmrParams(ifmr), ifmr, refuse)
  if (hfmg) {
    const { num_of_bins: bins } = hfmgParams(hfmg)
    if (![1024, 2048, 4096, 8192].includes(bins!)) refuse(hfmg, 'num_of_bins', 'one of 1024, 2048, 4096, 8192', bins)
  }
  if (arq?.quant_bits !== undefined && ![4, 6, 7, 8].includes(arq.quant_bits))
    refuse(arq, 'quant_bits', 'one of 4, 6, 7, 8', arq.quant_bits)
  if (ada) {
    const { reg_param, warm_start, beta_range } = layerParams(entry).weight_quant_params!
    for (const [field, value] of [
      ['reg_param', reg_param!],
      ['warm_start', warm_start!],
    ] as const)
      if (!(value > 0 && value < 1)) refuse(ada, field, 'above 0 and below 1', value)
    const [start, end] = beta_range!
    if (!(end > 0)) refuse(ada, 'beta_range_end', 'above 0', end)
    if (!(start > end)) refuse(ada, 'beta_range_start', `above beta_range_end, ${end}`, start)
  }
  if (nuq?.num_steps !== undefined && ![16, 32].includes(nuq.num_steps))
    refuse(nuq, 'num_steps', '16 or 32', nuq.num_steps)
  if (nuq?.num_of_iteration !== undefined && nuq.num_of_iteration > 5)
    refuse(nuq, 'num_of_iteration', 'from 0 to 5', nuq.num_of_iteration)
  const strength = layerParams(entry).dmq_balancer_param
  if (strength !== undefined && !(strength >= 0.2 && strength <= 0.8))
    refuse(entry.dmq_balancer!, 'migration_strength', 'from 0.2 to 0.8', strength)
}

function checkIfmr(
  params: AmctActivationParams,
  message: object,
  refuse: (holder: object, field: string, rule: string, value: unknown) => never,
): void {
  const [start, end] = params.search_range ?? SEARCH_RANGE
  if (!(start > 0)) refuse(message, 'search_range_start', 'above 0', start)
  if (!(end > start)) refuse(message, 'search_range_end', `above search_range_start, ${start}`, end)
  const length = Number((end - start).toPrecision(7))
  const step = params.search_step!
  if (!(step > 0 && step <= length))
    refuse(message, 'search_step', `above 0 and at most the length of the search range, ${length}`, step)
  for (const field of ['max_percentile', 'min_percentile'] as const) {
    const value = params[field]!
    if (!(value > 0.5 && value <= 1)) refuse(message, field, 'above 0.5 and at most 1', value)
  }
}
