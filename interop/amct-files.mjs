// AMCT's configuration and record files: random ones that google.protobuf wrote, read and written again by us, and
// simplified configurations expanded by us, for amct_files.py to compare with google.protobuf and with AMCT's own code.
import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import {
  amctLayers,
  expandAmctCalibration,
  expandAmctRetrain,
  quantizableLayers,
  readAmctCalibrationCfg,
  readAmctRecord,
  readAmctRetrainCfg,
  writeAmctCalibrationCfg,
  writeAmctQuantConfig,
  writeAmctRecord,
  writeAmctRetrainCfg,
  writeAmctRetrainJson,
} from 'whittle-nn/formats'
import { createGraph, createModel, createNode } from 'whittle-nn/graph'
import { Tensor } from 'whittle-nn/tensor'
import { PYTHON, pythonEnvironment } from './python.mjs'

const FILES = {
  calibration: [readAmctCalibrationCfg, writeAmctCalibrationCfg],
  retrain: [readAmctRetrainCfg, writeAmctRetrainCfg],
  record: [readAmctRecord, writeAmctRecord],
}

/** Layers of every type; nothing runs it. */
function model() {
  const graph = createGraph('layers')
  const add = (op, name, shape, attributes) => {
    if (shape)
      graph.initializers.set(`${name}.weight`, Tensor.of(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape))
    const inputs = shape ? [`${name}.in`, `${name}.weight`] : [`${name}.in`]
    graph.nodes.push(createNode(op, inputs, [`${name}.out`], attributes, name))
  }
  add('Conv', 'conv1', [8, 3, 3, 3])
  add('Conv', 'depthwise', [8, 1, 3, 3], { group: 8 })
  add('Conv', 'features.0', [8, 8, 3, 3])
  add('Conv', 'signal', [8, 8, 3])
  add('Conv', 'volume', [8, 8, 3, 3, 3])
  add('ConvTranspose', 'up', [8, 4, 2, 2])
  add('AveragePool', 'pool', undefined, { kernel_shape: [2, 2] })
  add('Gemm', 'fc', [5, 4], { transB: 1 })
  add('MatMul', 'last', [5, 4])
  return createModel(graph, 17)
}

const ARQ = 'arq_quantize { quant_bits: 7 channel_wise: false }'
const IFMR = 'ifmr_quantize { search_range_start: 0.8 search_range_end: 1.2 search_step: 0.02 asymmetric: false }'
const OVERRIDES = `
override_layer_types { layer_type: "Linear" calibration_config { hfmg_quantize { num_of_bins: 1024 } } }
override_layer_types { layer_type: 'ConvTranspose2d' calibration_config { ada_quantize { warm_start: 0.3 } } }
override_layer_configs : { layer_name : "conv1" calibration_config : { ${ARQ} ifmr_quantize { dst_type: INT16 } } }
override_layer_configs { layer_name: "last" calibration_config { ifmr_quantize { max_percentile: 0.99 } } }`

const CALIBRATIONS = {
  empty: '',
  symmetric: 'batch_num: 4 activation_offset: False do_fusion: false',
  skips: 'skip_layers: "conv1" skip_layers: "fc" skip_layer_types: "ConvTranspose2d" skip_fusion_layers: "features.0"',
  common: `common_config { ${IFMR} dmq_balancer { migration_strength: 0.7 } }`,
  hfmg: 'common_config { hfmg_quantize { asymmetric: false } }',
  'few bits': 'common_config { arq_quantize { quant_bits: 6 } }',
  'four bits': 'common_config { arq_quantize { quant_bits: 4 } }',
  ada: 'common_config { ada_quantize { num_iteration: 500 beta_range_start: 15 reg_param: 0.05 } }',
  int16: 'common_config { ifmr_quantize { dst_type: INT16 } }',
  precision: 'fakequant_precision_mode: FORCE_FP16_QUANT',
  overrides: `activation_offset: false common_config { ${IFMR} } ${OVERRIDES}`,
  'overrides alone': OVERRIDES,
}

const DATA =
  'retrain_data_quant_config { ulq_quantize { clip_max_min { clip_max: 6.0 clip_min: -5.5 } fixed_min: true } }'
const FILTER = 'prune_config { filter_pruner { balanced_l2_norm_filter_prune { prune_ratio: 0.3 } } }'
const RETRAINS = {
  data: DATA,
  weights: 'batch_num: 3 retrain_weight_quant_config { ulq_retrain { channel_wise: false } }',
  skips: `${DATA} quant_skip_layers: "conv1" skip_layer_types: "ConvTranspose2d"`,
  overrides: `${DATA} skip_layers: "up"
    override_layer_types { layer_type: "Linear" retrain_weight_quant_config { ulq_retrain { } } }
    override_layer_configs { layer_name: "fc" retrain_data_quant_config { ulq_quantize { fixed_min: false } } }`,
  filter: `${FILTER} regular_prune_skip_layers: "fc"`,
  selective: 'prune_config { n_out_of_m_pruner { l1_selective_prune { update_freq: 3 } } }',
  both: `${DATA} ${FILTER}`,
}

function expansions() {
  const layers = amctLayers(model())
  const cases = []
  for (const [name, cfg] of Object.entries(CALIBRATIONS)) {
    const { config } = expandAmctCalibration(readAmctCalibrationCfg(cfg, name).config, layers)
    cases.push({ kind: 'calibration', name, cfg, json: writeAmctQuantConfig(config) })
  }
  for (const [name, cfg] of Object.entries(RETRAINS)) {
    const { config } = expandAmctRetrain(readAmctRetrainCfg(cfg, name).config, layers)
    const [prunes, quantizes] = [cfg.includes('prune_config'), cfg.includes('retrain_')]
    cases.push({ kind: 'retrain', name, cfg, prunes, quantizes, json: writeAmctRetrainJson(config) })
  }
  const found = quantizableLayers(layers).map((layer) => [layer.node, { type: layer.type, packs: layer.packsFourBits }])
  return { layers: Object.fromEntries(found), cases }
}

/** Writes everything that amct_files.py compares; returns the folder. */
export async function amctFiles(parent) {
  const folder = join(parent, 'amct-files')
  mkdirSync(folder)
  const script = join(import.meta.dirname, 'python', 'amct_files.py')
  const env = { ...process.env, ...pythonEnvironment() }
  const { stdout } = await promisify(execFile)(PYTHON, [script, 'make', folder], { env, maxBuffer: 2 ** 26 })
  const made = JSON.parse(stdout)
  for (const { kind, name } of made) {
    const [read, write] = FILES[kind]
    writeFileSync(join(folder, `ours-${name}`), write(read(readFileSync(join(folder, name), 'utf8'), name).config))
  }
  writeFileSync(join(folder, 'made.json'), JSON.stringify(made))
  writeFileSync(join(folder, 'expand.json'), JSON.stringify(expansions()))
  return folder
}
