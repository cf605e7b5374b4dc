import { describe, expect, it } from 'vitest'
import { amctModel } from '../../../test/support/amct-model.ts'
import { amctLayers } from './layers.ts'
import { readAmctQuantConfig, writeAmctQuantConfig } from './quant-json.ts'
import { readAmctRetrainJson, writeAmctRetrainJson } from './retrain-json.ts'

const layers = amctLayers(amctModel())

/** A file in AMCT's layout, as its documentation shows one. */
const FILE = `{
    "version":1,
    "batch_num":2,
    "activation_offset":true,
    "do_fusion":true,
    "skip_fusion_layers":[],
    "conv1":{
        "quant_enable":true,
        "dmq_balancer_param":0.5,
        "activation_quant_params":{
            "num_bits":8,
            "max_percentile":0.999999,
            "min_percentile":0.999999,
            "search_range":[
                0.7,
                1.3
            ],
            "search_step":0.01,
            "act_algo":"ifmr",
            "asymmetric":false
        },
        "weight_quant_params":{
            "num_bits":8,
            "channel_wise":true,
            "wts_algo":"arq_quantize"
        }
    }
}`

describe("AMCT's JSON configuration", () => {
  it('is read and written byte for byte', () => {
    const { config } = readAmctQuantConfig(FILE, 'quant.json', layers)
    expect(config.layers.get('conv1')?.activation_quant_params?.search_range).toEqual([0.7, 1.3])
    expect(writeAmctQuantConfig(config)).toBe(FILE)
  })

  it('finds layers by the names of modules and of nodes', () => {
    for (const name of ['layer1.0.conv2', '/layer1/layer1.0/conv2/Conv'])
      expect(layers.find(name)?.weight).toBe('layer1.0.conv2.weight')
    expect(layers.all.map(({ type }) => type)).toEqual([
      'Conv2d',
      'Relu',
      'Conv2d',
      'Conv2d',
      'ConvTranspose2d',
      'AvgPool2d',
      'Flatten',
      'Linear',
      'Linear',
    ])
    expect(layers.find('layer1.0.conv2')?.types).toContain('DepthwiseConv2dNative')
    expect(layers.find('layer1.0.conv3')?.types).not.toContain('DepthwiseConv2dNative')
  })

  const one = (body: string, name = 'conv1') => `{\n "${name}": {"quant_enable": true,\n  ${body}}\n}`
  it.each([
    ['{\n "batch_num": 1,\n "batch_num": 2\n}', "q.json:3:2: key 'batch_num' stands twice, first in line 2. Keep one."],
    ['{"conv1": {}, "conv1": {}}', "q.json:1:15: key 'conv1' stands twice, first in line 1. Keep one."],
    ['{\n  "batchnum": 1}', "q.json:2:3: 'batchnum' is an invalid layer name or parameter."],
    ['{\n  "conv9": {}}', "q.json:2:3: 'conv9' is an invalid layer name or parameter: the model has no such layer."],
    ['{"/relu/Relu": {}}', "q.json:1:2: layer '/relu/Relu' is a Relu, which cannot be quantized."],
    ['{"version": 2}', "q.json:1:2: 'version' in the configuration must be one of 1; got 2."],
    ['{"batch_num": 0}', "q.json:1:2: 'batch_num' in the configuration must be above 0; got 0."],
    ['{"batch_num": 1.5}', "q.json:1:2: 'batch_num' in the configuration must be an integer; got 1.5."],
    ['{"do_fusion": "yes"}', `q.json:1:2: 'do_fusion' in the configuration must be true or false; got "yes".`],
    ['{"skip_fusion_layers": ["fc"]}', "q.json:1:25: 'skip_fusion_layers' takes convolutions; 'fc' is a Linear."],
    [
      '{"conv1": {"quant_enable": false}}',
      'q.json: no layer is enabled. Set "quant_enable" of at least one layer to true.',
    ],
    ['{"conv1": {}}', 'q.json: no layer is enabled. Set "quant_enable" of at least one layer to true.'],
    [
      one('"dmq_balancer_param": 0.9'),
      "q.json:3:3: 'dmq_balancer_param' in layer 'conv1' must be at least 0.2 and at most 0.8; got 0.9.",
    ],
    [
      one('"act": {}'),
      "q.json:3:3: 'act' is an unknown parameter in layer 'conv1'. Known are: quant_enable, dmq_balancer_param, activation_quant_params, weight_quant_params.",
    ],
    [
      one('"activation_quant_params": {"max_percentile": 0.5}'),
      "q.json:3:31: 'max_percentile' in layer 'conv1' must be above 0.5 and at most 1; got 0.5.",
    ],
    [
      one('"activation_quant_params": {"search_range": [1.3, 0.7]}'),
      "q.json:3:31: 'search_range' in layer 'conv1' must be [start, end] with 0 < start < end; got a list.",
    ],
    [
      one('"activation_quant_params": {"search_step": 0.61}'),
      "q.json:3:31: 'search_step' in layer 'conv1' must be at most the length of the search range, 0.6; got 0.61.",
    ],
    [
      one('"activation_quant_params": {"search_step": 0}'),
      "q.json:3:31: 'search_step' in layer 'conv1' must be above 0; got 0.",
    ],
    [
      one('"activation_quant_params": {"num_of_bins": 1000}'),
      "q.json:3:31: 'num_of_bins' in layer 'conv1' must be one of 1024, 2048, 4096, 8192; got 1000.",
    ],
    [
      one('"activation_quant_params": {"num_of_bins": 1024,\n "search_step": 0.1}'),
      "q.json:4:2: 'search_step' belongs to ifmr, but layer 'conv1' has hfmg's parameters.",
    ],
    [
      one('"activation_quant_params": {"act_algo": "ifmr", "num_of_bins": 1024}'),
      "q.json:3:51: 'num_of_bins' belongs to hfmg, but layer 'conv1' has ifmr's parameters.",
    ],
    [
      one('"weight_quant_params": {"beta_range": [20, 2]}'),
      "q.json:3:27: 'beta_range' in layer 'conv1' is no parameter of arq_quantize; its parameters are num_bits, wts_algo, channel_wise.",
    ],
    [
      one('"weight_quant_params": {"wts_algo": "ada_quantize", "warm_start": 1}'),
      "q.json:3:55: 'warm_start' in layer 'conv1' must be above 0 and below 1; got 1.",
    ],
    [
      one('"weight_quant_params": {"wts_algo": "ada_quantize", "beta_range": [2, 2]}'),
      "q.json:3:55: 'beta_range' in layer 'conv1' must be [start, end] with start > end > 0; got a list.",
    ],
    [
      one('"weight_quant_params": {"num_bits": 5}'),
      "q.json:3:27: 'num_bits' in layer 'conv1' must be one of 4, 6, 7, 8; got 5.",
    ],
    [
      one('"weight_quant_params": {"num_bits": 7}', 'fc'),
      "q.json:3:27: layer 'fc': weights of 7 bits are only for Conv2d; this layer is of type Linear.",
    ],
    [
      one('"weight_quant_params": {"channel_wise": true}', 'fc'),
      "q.json:3:27: layer 'fc': 'channel_wise' must be false for layers of type Linear.",
    ],
    [
      one('"dmq_balancer_param": 0.5', '/pool/AveragePool'),
      "q.json:3:3: layer '/pool/AveragePool': layers of type AvgPool2d cannot be balanced.",
    ],
    ['{"conv1": {}', 'q.json:1:13: the file must be JSON: '],
    ['{"a": 1e999}', 'q.json:1:7: the number is too large for a float64.'],
    ['[]', 'q.json: a configuration must be a JSON object.'],
    [`${'['.repeat(100000)}`, 'q.json:1: JSON here nests at most 64 levels deep; this goes deeper.'],
  ])('refuses %j with its place', (text, expected) => {
    expect(() => readAmctQuantConfig(text, 'q.json', layers)).toThrow(expected)
    expect(() => readAmctQuantConfig(text, 'q.json', layers)).toThrow(expect.objectContaining({ code: 'INVALID_FILE' }))
  })

  it('takes a step as long as the search range, whatever float64 makes of their difference', () => {
    const text = one('"activation_quant_params": {"search_range": [0.7, 1.3], "search_step": 0.6}')
    expect(() => readAmctQuantConfig(text, 'q.json', layers)).not.toThrow()
  })

  it('keeps keys that are names of what every object has', () => {
    expect(() => readAmctQuantConfig('{"__proto__": {"quant_enable": true}}', 'q.json', layers)).toThrow(
      "'__proto__' is an invalid layer name or parameter",
    )
    expect(() => readAmctQuantConfig('{"constructor": 1}', 'q.json')).toThrow("'constructor' is an invalid layer name")
  })
})

const RETRAIN_FILE = `{
    "version":1,
    "batch_num":1,
    "conv1":{
        "retrain_enable":true,
        "retrain_data_config":{
            "algo":"ulq_quantize",
            "clip_max":6.0,
            "clip_min":-6.0,
            "fixed_min":true,
            "dst_type":"INT8"
        },
        "retrain_weight_config":{
            "algo":"arq_retrain",
            "channel_wise":true,
            "dst_type":"INT8"
        }
    },
    "layer1.0.conv3":{
        "regular_prune_enable":true,
        "regular_prune_config":{
            "prune_type":"filter_prune",
            "algo":"balanced_l2_norm_filter_prune",
            "prune_ratio":0.3,
            "ascend_optimized":true
        }
    }
}`

describe("AMCT's JSON configuration of retraining", () => {
  it('is read and written byte for byte, whole numbers with a point where AMCT insists on floats', () => {
    expect(writeAmctRetrainJson(readAmctRetrainJson(RETRAIN_FILE, 'r.json', layers).config)).toBe(RETRAIN_FILE)
  })

  const one = (body: string, name = 'conv1') => `{"${name}": {"retrain_enable": true,\n ${body}}}`
  it.each([
    [
      one('"retrain_data_config": {"clip_max": 6}'),
      "r.json:2:26: 'clip_max' of layer 'conv1' needs 'clip_min' beside it.",
    ],
    [
      one('"retrain_data_config": {"clip_max": -6, "clip_min": -1}'),
      "r.json:2:26: 'clip_max' in layer 'conv1' must be above 0; got -6.",
    ],
    [
      one('"retrain_data_config": {"dst_type": "INT4"}'),
      "r.json:2:26: activations and weights of layer 'conv1' must be one of A4W4, A8W8, A16W8, A8W4; got A4W8.",
    ],
    [
      one('"retrain_weight_config": {"channel_wise": true}', 'fc'),
      "r.json:2:28: 'channel_wise' must be false for layers of type Linear, as 'fc' is.",
    ],
    [
      one('"retrain_weight_config": {"algo": "lsq"}'),
      `r.json:2:28: 'algo' in layer 'conv1' must be one of "arq_retrain", "ulq_retrain"; got "lsq".`,
    ],
    [
      one('"retrain_weight_config": {}', '/pool/AveragePool'),
      "r.json:1:2: layer '/pool/AveragePool' is a AvgPool2d, which cannot be retrained.",
    ],
    [
      '{"conv1": {"retrain_enable": false}}',
      'r.json: no layer is enabled. Set "retrain_enable" of at least one layer to true.',
    ],
  ])('refuses %j with its place', (text, expected) => {
    expect(() => readAmctRetrainJson(text, 'r.json', layers)).toThrow(expected)
  })
})
