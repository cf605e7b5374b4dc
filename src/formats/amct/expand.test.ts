import { describe, expect, it } from 'vitest'
import { amctModel } from '../../../test/support/amct-model.ts'
import { readAmctCalibrationCfg, readAmctRetrainCfg } from './cfg.ts'
import { expandAmctCalibration } from './expand-calibration.ts'
import { expandAmctRetrain } from './expand-retrain.ts'
import { amctLayers } from './layers.ts'
import { choicesFromAmctQuantConfig } from './quant-choices.ts'
import { readAmctQuantConfig, writeAmctQuantConfig } from './quant-json.ts'
import { choicesFromAmctRetrainJson } from './retrain-choices.ts'

const layers = amctLayers(amctModel())

function expand(text: string) {
  const { config, source } = readAmctCalibrationCfg(text, 'quant.cfg')
  return expandAmctCalibration(config, layers, { source, names: 'module' })
}

const IFMR = {
  num_bits: 8,
  max_percentile: 0.999999,
  min_percentile: 0.999999,
  search_range: [0.7, 1.3],
  search_step: 0.01,
  act_algo: 'ifmr',
}

describe('a simplified configuration, expanded', () => {
  it('is AMCT’s default for every layer when it is empty', () => {
    const { config, warnings } = expand('')
    expect(warnings).toEqual([])
    expect([...config.layers.keys()]).toEqual([
      '/MatMul',
      'conv1',
      'fc',
      'layer1.0.conv2',
      'layer1.0.conv3',
      'pool',
      'up',
    ])
    expect({ ...config, layers: undefined }).toEqual({
      version: 1,
      batch_num: 1,
      activation_offset: true,
      do_fusion: true,
      skip_fusion_layers: [],
      layers: undefined,
    })
    expect(config.layers.get('conv1')).toEqual({
      quant_enable: true,
      activation_quant_params: { ...IFMR, asymmetric: true },
      weight_quant_params: { num_bits: 8, channel_wise: true, wts_algo: 'arq_quantize' },
    })
    expect(config.layers.get('fc')?.weight_quant_params?.channel_wise).toBe(false)
  })

  it('takes a layer’s settings before its type’s, and these before the common ones, as a whole', () => {
    const { config } = expand(`
      batch_num: 4
      activation_offset: false
      skip_layers: "up"
      skip_layer_types: "AvgPool2d"
      do_fusion: false
      common_config {
        ifmr_quantize { search_range_start: 0.8 search_range_end: 1.2 search_step: 0.02 asymmetric: true }
        dmq_balancer { migration_strength: 0.6 }
      }
      override_layer_types: { layer_type: "Linear" calibration_config: { hfmg_quantize: { num_of_bins: 8192 } } }
      override_layer_configs: {
        layer_name: "conv1"
        calibration_config: { arq_quantize: { quant_bits: 7 channel_wise: false } ifmr_quantize { dst_type: INT16 } }
      }
      override_layer_configs: { layer_name: "fc" calibration_config: { ada_quantize { num_iteration: 100 } } }`)
    const layer = (name: string) => config.layers.get(name)!
    expect(config).toMatchObject({ batch_num: 4, activation_offset: false, do_fusion: false })
    expect(layer('layer1.0.conv2')).toEqual({
      quant_enable: true,
      dmq_balancer_param: 0.6,
      activation_quant_params: { ...IFMR, search_range: [0.8, 1.2], search_step: 0.02, asymmetric: true },
      weight_quant_params: { num_bits: 8, channel_wise: true, wts_algo: 'arq_quantize' },
    })
    // HFMG is another algorithm than the common one, so that activation_offset decides.
    expect(layer('/MatMul').activation_quant_params).toEqual({
      num_bits: 8,
      num_of_bins: 8192,
      act_algo: 'hfmg',
      asymmetric: false,
    })
    // IFMR is the common algorithm, so that its asymmetric holds.
    expect(layer('conv1')).toEqual({
      quant_enable: true,
      activation_quant_params: { ...IFMR, num_bits: 16, asymmetric: true },
      weight_quant_params: { num_bits: 7, channel_wise: false, wts_algo: 'arq_quantize' },
    })
    expect(layer('fc').weight_quant_params).toEqual({
      num_bits: 8,
      reg_param: 0.01,
      warm_start: 0.2,
      num_iteration: 100,
      beta_range: [20, 2],
      channel_wise: false,
      wts_algo: 'ada_quantize',
    })
    expect(layer('up').quant_enable).toBe(false)
    expect(layer('pool').quant_enable).toBe(false)
    const text = writeAmctQuantConfig(config)
    expect(readAmctQuantConfig(text, 'quant.json', layers).config).toEqual(config)
  })

  it('takes back what common settings ask of layers that cannot do it, and says so', () => {
    const { config, warnings } = expand(
      'common_config { arq_quantize { quant_bits: 6 channel_wise: true } dmq_balancer { } }',
    )
    expect(config.layers.get('conv1')?.weight_quant_params?.num_bits).toBe(6)
    expect(config.layers.get('up')?.weight_quant_params?.num_bits).toBe(8)
    expect(config.layers.get('fc')?.weight_quant_params).toMatchObject({ num_bits: 8, channel_wise: false })
    expect(config.layers.get('pool')?.dmq_balancer_param).toBeUndefined()
    expect(warnings).toContain(
      "Layer '/fc/Gemm' of type Linear: 'channel_wise' must be false; its weights share one scale.",
    )
  })

  const layer = (name: string, body: string) =>
    `override_layer_configs {\n layer_name: "${name}"\n calibration_config { ${body} }\n}`
  it.each([
    ['skip_layers: "conv9"', "quant.cfg:1:1: skip_layers: layer 'conv9' does not exist in the model."],
    ['skip_layers: "fc"\nskip_layers: "fc"', "quant.cfg:2:1: 'skip_layers' names 'fc' twice. Keep one."],
    [
      'skip_layers: ["fc",\n"/relu/Relu"]',
      "quant.cfg:2:1: skip_layers: '/relu/Relu' cannot be quantized, so it need not be skipped.",
    ],
    ['skip_layer_types: "Relu"', "quant.cfg:1:1: skip_layer_types: layer type 'Relu' cannot be quantized. Types are"],
    ['batch_num: 0', "quant.cfg:1:1: 'batch_num' must be at least 1; got 0."],
    [layer('conv9', ''), "quant.cfg:2:2: layer 'conv9' does not exist in the model."],
    [
      layer('fc', 'arq_quantize { channel_wise: true }'),
      "quant.cfg:3:38: layer '/fc/Gemm' of type Linear: 'channel_wise' must be false.",
    ],
    [
      layer('fc', 'arq_quantize { quant_bits: 7 }'),
      "quant.cfg:3:38: layer '/fc/Gemm' of type Linear: weights of 7 bits are only for Conv2d.",
    ],
    [layer('fc', 'arq_quantize { quant_bits: 9 }'), "quant.cfg:3:38: 'quant_bits' must be one of 4, 6, 7, 8; got 9."],
    [
      layer('fc', 'ifmr_quantize { search_step: 0.7 }'),
      "quant.cfg:3:39: 'search_step' must be above 0 and at most the length of the search range, 0.6; got 0.7.",
    ],
    [
      layer('fc', 'ifmr_quantize { search_range_start: 1.5 }'),
      "quant.cfg:3:37: 'search_range_end' must be above search_range_start, 1.5; got 1.3.",
    ],
    [
      layer('fc', 'ifmr_quantize { min_percentile: 1.1 }'),
      "quant.cfg:3:39: 'min_percentile' must be above 0.5 and at most 1; got 1.1.",
    ],
    [
      layer('fc', 'hfmg_quantize { num_of_bins: 4095 }'),
      "quant.cfg:3:39: 'num_of_bins' must be one of 1024, 2048, 4096, 8192; got 4095.",
    ],
    [
      layer('fc', 'dmq_balancer { migration_strength: 0.1 }'),
      "quant.cfg:3:38: 'migration_strength' must be from 0.2 to 0.8; got 0.1.",
    ],
    [
      layer('fc', 'ada_quantize { beta_range_start: 1 }'),
      "quant.cfg:3:38: 'beta_range_start' must be above beta_range_end, 2; got 1.",
    ],
    [
      layer('pool', 'dmq_balancer { }'),
      "quant.cfg:3:23: layer '/pool/AveragePool' of type AvgPool2d: it cannot be balanced.",
    ],
    [
      `${layer('fc', '')}\n${layer('/fc/Gemm', '')}`,
      "quant.cfg:6:2: 'override_layer_configs' has layer '/fc/Gemm' twice. Keep one.",
    ],
    ['skip_layer_types: ["Conv2d", "ConvTranspose2d", "Linear", "AvgPool2d"]', 'quant.cfg: no layer is enabled.'],
  ])('refuses %j with its place', (text, expected) => {
    expect(() => expand(text)).toThrow(expected)
  })
})

describe('choices from a configuration', () => {
  it('name nodes and values, with AMCT’s parameters in our words', () => {
    const { config } = expand(`
      batch_num: 2
      skip_layers: "fc"
      skip_fusion_layers: "conv1"
      common_config { ifmr_quantize { max_percentile: 0.9999 asymmetric: false } dmq_balancer { } }
      override_layer_configs { layer_name: "up" calibration_config { hfmg_quantize { } ada_quantize { } } }`)
    const choices = choicesFromAmctQuantConfig(config, layers)
    expect(choices.batches).toBe(2)
    expect(choices.nodes).toHaveLength(6)
    expect([...choices.excluded.keys()]).toEqual(['/fc/Gemm'])
    expect(choices.unfolded).toEqual(['/conv1/Conv'])
    expect(choices.tensors.get('input')).toEqual({ type: 'uint8', bits: 8, symmetric: true })
    expect(choices.tensors.get('d')).toEqual({ type: 'uint8', bits: 8, symmetric: false })
    expect(choices.calibration.get('b')).toEqual({
      method: 'ifmr',
      maxPercentile: 0.9999,
      minPercentile: 0.999999,
      searchRange: [0.7, 1.3],
      searchStep: 0.01,
    })
    expect(choices.calibration.get('d')).toEqual({ method: 'hfmg', numOfBins: 4096 })
    expect(choices.layers.get('/conv1/Conv')).toEqual({ type: 'int8', bits: 8, perChannel: true, algorithm: 'arq' })
    expect(choices.layers.get('/MatMul')?.perChannel).toBe(false)
    expect(choices.layers.has('/pool/AveragePool')).toBe(false)
    expect(choices.balance.get('/conv1/Conv')).toBe(0.5)
    expect(choices.adaRound.get('/up/ConvTranspose')).toEqual({
      iterations: 10000,
      regularization: 0.01,
      beta: [20, 2],
      warmStart: 0.2,
    })
  })
})

describe('a simplified configuration of retraining, expanded', () => {
  const retrain = (text: string) => {
    const { config, source } = readAmctRetrainCfg(text, 'retrain.cfg')
    return expandAmctRetrain(config, layers, { source, names: 'module' })
  }

  it('quantizes every layer that can be retrained when it is empty', () => {
    const { config } = retrain('')
    expect([...config.layers.keys()]).toEqual(['conv1', 'layer1.0.conv2', 'layer1.0.conv3', 'up', 'fc', '/MatMul'])
    expect(config.layers.get('conv1')).toEqual({
      retrain_enable: true,
      retrain_data_config: { algo: 'ulq_quantize', dst_type: 'INT8' },
      retrain_weight_config: { algo: 'arq_retrain', channel_wise: true, dst_type: 'INT8' },
    })
  })

  it('has the settings of layers, types and all, and leaves out what is skipped', () => {
    const { config } = retrain(`
      retrain_data_quant_config: { ulq_quantize: { clip_max_min: { clip_max: 6.0 clip_min: -6.0 } } }
      retrain_weight_quant_config: { ulq_retrain: { dst_type: INT4 } }
      quant_skip_types: "ConvTranspose2d"
      override_layer_types { layer_type: "Linear" retrain_weight_quant_config { arq_retrain { dst_type: INT8 } } }
      override_layer_configs { layer_name: "conv1" retrain_data_quant_config { ulq_quantize { fixed_min: false } } }`)
    expect(config.layers.get('layer1.0.conv3')).toEqual({
      retrain_enable: true,
      retrain_data_config: { algo: 'ulq_quantize', clip_max: 6, clip_min: -6, dst_type: 'INT8' },
      retrain_weight_config: { algo: 'ulq_retrain', channel_wise: true, dst_type: 'INT4' },
    })
    // Groups cannot be packed to 4 bits.
    expect(config.layers.get('layer1.0.conv2')?.retrain_weight_config?.dst_type).toBe('INT8')
    expect(config.layers.get('up')?.retrain_enable).toBe(false)
    expect(config.layers.get('fc')?.retrain_data_config).toEqual({ algo: 'ulq_quantize', dst_type: 'INT8' })
    expect(config.layers.get('conv1')?.retrain_data_config).toEqual({
      algo: 'ulq_quantize',
      fixed_min: false,
      dst_type: 'INT8',
    })
    const choices = choicesFromAmctRetrainJson(config, layers)
    const name = '/layer1/layer1.0/conv3/Conv'
    expect(choices.retrain.get(name)).toEqual({ clip: { min: -6, max: 6 }, fixedMin: undefined, weights: 'ulq' })
    expect(choices.layers.get(name)).toEqual({ type: 'int8', bits: 4, perChannel: true, algorithm: 'arq' })
    expect(choices.tensors.get('c')).toEqual({ type: 'uint8', bits: 8 })
  })

  it('prunes without quantizing when it says nothing of quantization', () => {
    const { config } = retrain(`
      prune_config { filter_pruner { balanced_l2_norm_filter_prune { prune_ratio: 0.3 } } }
      regular_prune_skip_layers: "fc"`)
    expect(config.layers.get('conv1')).toEqual({
      regular_prune_enable: true,
      regular_prune_config: {
        prune_type: 'filter_prune',
        algo: 'balanced_l2_norm_filter_prune',
        prune_ratio: 0.3,
        ascend_optimized: true,
      },
    })
    expect(config.layers.get('fc')?.regular_prune_enable).toBe(false)
    expect(config.layers.has('up')).toBe(false)
    expect(config.batch_num).toBeUndefined()
  })

  it.each([
    [
      'retrain_weight_quant_config { arq_retrain { dst_type: INT16 } }',
      'retrain.cfg:1:45: activations and weights must be one of A4W4, A8W8, A16W8, A8W4; got A8W16.',
    ],
    [
      'retrain_data_quant_config { ulq_quantize { clip_max_min { clip_max: -1 clip_min: -2 } } }',
      "retrain.cfg:1:59: 'clip_max' must be above 0; got -1.",
    ],
    [
      'prune_config { filter_pruner { balanced_l2_norm_filter_prune { prune_ratio: 1 } } }',
      "retrain.cfg:1:64: 'prune_ratio' must be above 0 and below 1; got 1.",
    ],
    [
      'prune_config { filter_pruner { } }',
      "retrain.cfg:1:16: 'filter_pruner' needs 'balanced_l2_norm_filter_prune' in it.",
    ],
    [
      'prune_config { filter_pruner { balanced_l2_norm_filter_prune { } } }',
      "retrain.cfg:1:62: message 'BalancedL2NormFilterPruner' must have field 'prune_ratio'; it is missing.",
    ],
  ])('refuses %j with its place', (text, expected) => {
    expect(() => retrain(text)).toThrow(expected)
  })
})
