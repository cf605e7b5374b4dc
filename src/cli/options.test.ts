import { describe, expect, it } from 'vitest'
import { nearest } from './nearest.ts'
import { type OptionSpecs, parseOptions } from './options.ts'
import { ProgressLine } from './progress.ts'

const specs = {
  output: { kind: 'text', short: 'o', value: 'OUT', about: 'file', required: true },
  align: { kind: 'count', value: 'N', about: 'multiple' },
  'max-drop': { kind: 'number', value: 'POINTS', least: 0, about: 'drop' },
  only: { kind: 'list', value: 'GLOB', about: 'names' },
  json: { kind: 'flag', about: 'json' },
} as const satisfies OptionSpecs
const parse = (...args: string[]) => parseOptions(args, specs)

describe('parseOptions', () => {
  it('reads options that may stand alone', () => {
    const own = { ...specs, qat: { kind: 'text', value: 'BITS', bare: 'int8', about: 'bits' } } as const
    const read = (...args: string[]) => parseOptions(args, own)
    expect(read('m.onnx', '--qat').values.qat).toBe('int8')
    expect(read('--qat', '--output', 'x.onnx').values).toMatchObject({ qat: 'int8', output: 'x.onnx' })
    expect(read('--qat', 'w4a4', 'm.onnx')).toMatchObject({ positionals: ['m.onnx'], values: { qat: 'w4a4' } })
    expect(read('--qat=w4a8').values.qat).toBe('w4a8')
    expect(read().values.qat).toBeUndefined()
  })

  it('reads positionals, short and long options, lists and numbers', () => {
    const { positionals, values } = parse(
      'm.onnx',
      '-o',
      'x.onnx',
      '--align=8',
      '--only',
      'a*,b',
      '--only',
      'c',
      '--json',
    )
    expect(positionals).toEqual(['m.onnx'])
    expect(values).toEqual({ output: 'x.onnx', align: 8, 'max-drop': undefined, only: ['a*', 'b', 'c'], json: true })
  })

  it.each<[string[], string]>([
    [['--aling', '8'], 'Option --aling does not exist. Did you mean --align?'],
    [['--zzzzzz'], 'Option --zzzzzz does not exist. See --help for the options there are.'],
    [['--align', 'x'], "Option --align: must be a whole number of at least 1; got 'x'."],
    [['--align', '0'], "Option --align: must be a whole number of at least 1; got '0'."],
    [['--max-drop', '-1'], "Option --max-drop: must be a number of at least 0; got '-1'."],
    [['--max-drop', ''], "Option --max-drop: must be a number of at least 0; got ''."],
    [['--align'], 'Option --align: needs a value; write --align N.'],
    [['--output', '--json'], 'Option --output: needs a value; write --output OUT.'],
    [['--align', '8', '--align', '4'], 'Option --align: is taken once; it was given twice.'],
    [['--json=yes'], "Option --json: takes no value; got 'yes'."],
  ])('%j: %s', (args, message) => expect(() => parse(...args)).toThrow(message))
})

describe('nearest', () => {
  it('suggests close names and beginnings, and nothing for words that mean something else', () => {
    expect(nearest('decompse', ['inspect', 'decompose'])).toBe('decompose')
    expect(nearest('eval', ['inspect', 'evaluate'])).toBe('evaluate')
    expect(nearest('quantum', ['inspect', 'decompose'])).toBeUndefined()
  })
})

describe('ProgressLine', () => {
  const run = (isTTY: boolean): string => {
    let now = 0
    let text = ''
    const line = new ProgressLine({ isTTY, columns: 40, write: (part) => (text += part) }, () => now)
    for (let done = 0; done <= 10; done++) {
      line.update({ stage: 'plan', done, total: 10, item: 'a layer with a name that does not fit the line' })
      now += 500
    }
    line.clear()
    return text
  }

  it('is silent for two seconds, then shows the time left within the width, and goes away', () => {
    const lines = run(true).split('\r\u001b[2K')
    expect(lines[1]).toBe('plan · 4/10 · 3.0 s left · a layer with'.slice(0, 39))
    expect(lines.at(-1)).toBe('')
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(40)
  })

  it('writes nothing where there is no terminal', () => expect(run(false)).toBe(''))
})
