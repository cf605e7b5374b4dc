import { describe, expect, it } from 'vitest'
import { amctModel } from '../../test/support/amct-model.ts'
import { detectQuantizationConfig, readQuantizationConfig } from './read-config.ts'

const FILES = {
  'amct-json': '{"version": 1, "conv1": {"quant_enable": true}}',
  'amct-retrain-json': '{"version": 1, "conv1": {"retrain_enable": true}}',
  'tensor-quant-overrides': '{"conv1.weight": [{"quant_type": "QInt8"}]}',
  'amct-cfg': '# retrain_data_quant_config { is a comment\nbatch_num: 2\nskip_layers: "fc"',
  'amct-retrain-cfg': 'batch_num: 2\nretrain_data_quant_config: { ulq_quantize { } }',
  'amct-record': '# ours\nrecord {\n  key: "conv1"\n  value { scale_d: 0.1 offset_d: -3 scale_w: 0.1 offset_w: 0 }\n}',
} as const

describe('a configuration file', () => {
  it.each(Object.entries(FILES))('is known by its contents: %s', (format, text) => {
    expect(detectQuantizationConfig(text, 'file')).toBe(format)
    const read = readQuantizationConfig(text, 'file', amctModel())
    expect(read.format).toBe(format)
    const chosen = [...read.choices.layers.keys(), ...read.choices.retrain.keys()]
    expect(chosen).toContain('/conv1/Conv')
  })

  it('that is empty is AMCT’s default configuration', () => {
    expect(readQuantizationConfig('', 'empty.cfg', amctModel()).choices.nodes).toHaveLength(7)
  })
})
