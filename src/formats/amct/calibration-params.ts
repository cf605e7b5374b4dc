/** The settings of one `CalibrationConfig` message as AMCT's JSON has them, with the message's own defaults. */
import { shortestFloat32 } from '../text/float32.ts'
import type { AmctCalibration, AmctHfmg, AmctIfmr } from './calibration-schema.ts'
import type { AmctActivationParams, AmctQuantLayer, AmctWeightParams } from './quant-json-fields.ts'

/** Defaults of IFMR, of its message and of the JSON alike. */
export const IFMR_DEFAULTS = {
  max_percentile: 0.999999,
  min_percentile: 0.999999,
  search_range: [0.7, 1.3],
  search_step: 0.01,
} as const

/** Defaults of AdaRound. */
export const ADA_DEFAULTS = { reg_param: 0.01, warm_start: 0.2, num_iteration: 10000, beta_range: [20, 2] } as const

/** Default of HFMG. */
export const NUM_OF_BINS = 4096

/** Defaults of non-uniform quantization. */
export const NUQ_DEFAULTS = { num_steps: 32, num_of_iteration: 1 } as const

const number = (given: number | undefined, fallback: number): number =>
  given === undefined ? fallback : shortestFloat32(given)

const bitsOf = (type: 'INT8' | 'INT16' | undefined): number => (type === 'INT16' ? 16 : 8)

/** Activations by IFMR. */
export function ifmrParams(message: AmctIfmr): AmctActivationParams {
  return {
    num_bits: bitsOf(message.dst_type),
    max_percentile: number(message.max_percentile, IFMR_DEFAULTS.max_percentile),
    min_percentile: number(message.min_percentile, IFMR_DEFAULTS.min_percentile),
    search_range: [
      number(message.search_range_start, IFMR_DEFAULTS.search_range[0]),
      number(message.search_range_end, IFMR_DEFAULTS.search_range[1]),
    ],
    search_step: number(message.search_step, IFMR_DEFAULTS.search_step),
    act_algo: 'ifmr',
    ...(message.asymmetric === undefined ? {} : { asymmetric: message.asymmetric }),
  }
}

/** Activations by HFMG. */
export function hfmgParams(message: AmctHfmg): AmctActivationParams {
  return {
    num_bits: bitsOf(message.dst_type),
    act_algo: 'hfmg',
    ...(message.asymmetric === undefined ? {} : { asymmetric: message.asymmetric }),
    num_of_bins: message.num_of_bins ?? NUM_OF_BINS,
  }
}

function activationParams(message: AmctCalibration): AmctActivationParams {
  if (message.ifmr_quantize) return ifmrParams(message.ifmr_quantize)
  return message.hfmg_quantize ? hfmgParams(message.hfmg_quantize) : {}
}

function weightParams(message: AmctCalibration): AmctWeightParams {
  const { arq_quantize: arq, ada_quantize: ada, nuq_quantize: nuq } = message
  if (arq)
    return {
      ...(arq.quant_bits === undefined ? {} : { num_bits: arq.quant_bits }),
      ...(arq.channel_wise === undefined ? {} : { channel_wise: arq.channel_wise }),
    }
  if (ada)
    return {
      reg_param: number(ada.reg_param, ADA_DEFAULTS.reg_param),
      warm_start: number(ada.warm_start, ADA_DEFAULTS.warm_start),
      num_iteration: ada.num_iteration ?? ADA_DEFAULTS.num_iteration,
      beta_range: [
        number(ada.beta_range_start, ADA_DEFAULTS.beta_range[0]),
        number(ada.beta_range_end, ADA_DEFAULTS.beta_range[1]),
      ],
      ...(ada.channel_wise === undefined ? {} : { channel_wise: ada.channel_wise }),
      wts_algo: 'ada_quantize',
    }
  if (nuq)
    return {
      wts_algo: 'nuq_quantize',
      num_steps: nuq.num_steps ?? NUQ_DEFAULTS.num_steps,
      num_of_iteration: nuq.num_of_iteration ?? NUQ_DEFAULTS.num_of_iteration,
    }
  return {}
}

/** A message's settings; what the message does not mention stays absent. */
export function layerParams(message: AmctCalibration | undefined): AmctQuantLayer {
  if (message === undefined) return { activation_quant_params: {}, weight_quant_params: {} }
  const strength = message.dmq_balancer && number(message.dmq_balancer.migration_strength, 0.5)
  return {
    ...(strength === undefined ? {} : { dmq_balancer_param: strength }),
    activation_quant_params: activationParams(message),
    weight_quant_params: weightParams(message),
  }
}
