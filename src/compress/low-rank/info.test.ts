import { describe, expect, test } from 'vitest'
import { type DecomposeInfo, formatDecomposeInfo, parseDecomposeInfo, stepOfEntry } from './info.ts'

// The example of AMCT's documentation.
const AMCT = `[
	{
		"ori_layer_info": {"name": "conv2", "in_channels": 128, "out_channels": 128, "kernel_size": [3, 3], "stride": [1, 1], "dilation": [1, 1], "groups": 1},
		"mode": "SCFK",
		"decom_nodes": {"first": {"weight_shape": [64, 128, 3, 1]}, "last": {"weight_shape": [128, 64, 1, 3]}}
	}
]`

const layer = {
  name: 'fc',
  in_channels: 8,
  out_channels: 6,
  kernel_size: [],
  stride: [],
  dilation: [],
  groups: 1,
  op: 'Gemm',
}
const gemm = {
  ori_layer_info: layer,
  mode: 'SVD',
  decom_nodes: { first: { weight_shape: [3, 8] }, last: { weight_shape: [6, 3] } },
  variant: '',
  ranks: { rank: 3 },
}

describe('decompose_info.json', () => {
  test('AMCT files are read: mode and shapes give form, axis order and rank', () => {
    const [entry] = parseDecomposeInfo(AMCT)
    expect(stepOfEntry(entry!)).toEqual({ form: 'spatial', variant: 'h-w', ranks: { rank: 64 } })
  })

  test.each([
    ['SCFK', 'h-w'],
    ['FCSK', 'h-w'],
    ['FCFK', 'w-h'],
    ['SCSK', 'w-h'],
  ])('mode %s puts the axes in order %s', (mode, variant) => {
    const [entry] = parseDecomposeInfo(AMCT.replace('SCFK', mode))
    expect(stepOfEntry(entry!).variant).toBe(variant)
  })

  test('a file of AMCT layers alone has exactly the fields of AMCT', () => {
    expect(JSON.parse(formatDecomposeInfo(parseDecomposeInfo(AMCT)))).toEqual(JSON.parse(AMCT))
  })

  test('in a mixed file the list holds only what AMCT can read, and nothing is lost', () => {
    const info: DecomposeInfo = [gemm, ...parseDecomposeInfo(AMCT)]
    const text = formatDecomposeInfo(info)
    const list = JSON.parse(text) as { mode: string }[]
    expect(list.map((entry) => entry.mode)).toEqual(['SCFK'])
    expect(parseDecomposeInfo(text).map((entry) => entry.ori_layer_info.name)).toEqual(['conv2', 'fc'])
  })

  test.each([
    ['{', /^decompose_info\.json is not valid JSON/],
    ['{}', /^decompose_info\.json must be a list of layers\.$/],
    ['[1]', /^decompose_info\.json, entry 1: must be an object\.$/],
    [
      AMCT.replace('"in_channels": 128', '"in_channels": "x"'),
      /entry 1 \('conv2'\), in_channels: must be a whole number of at least 1; got "x"\.$/,
    ],
    [AMCT.replace('"last"', '"tail"'), /entry 1 \('conv2'\): decom_nodes must have 'last'\.$/],
    [
      AMCT.replace('[64, 128, 3, 1]', '[0, 128, 3, 1]'),
      /first\.weight_shape: must be a whole number of at least 1; got 0\.$/,
    ],
  ])('refuses %s', (text, message) => {
    expect(() => parseDecomposeInfo(text)).toThrow(message)
  })

  test('refuses modes it does not know', () => {
    const [entry] = parseDecomposeInfo(AMCT.replace('SCFK', 'XXXX'))
    expect(() => stepOfEntry(entry!)).toThrow(
      "mode must be one of AMCT's, FCFK, FCSK, SCFK, SCSK, or one of TUCKER2, CHANNEL, SVD, SPATIAL, CP, TT with",
    )
  })
})
