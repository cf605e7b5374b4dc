/** The public ONNX backend tests, read from their archive. */
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'

/** One case: a model and sets of its inputs. */
export interface OnnxCase {
  readonly name: string
  readonly model: Uint8Array
  /** Per data set, the encoded inputs in their order. */
  readonly inputs: readonly (readonly Uint8Array[])[]
}

/** The regular files of a tar archive (ustar with GNU long names). */
export function* readTar(archive: Uint8Array): Generator<{ name: string; bytes: Uint8Array }> {
  const text = (start: number, length: number): string => {
    const bytes = archive.subarray(start, start + length)
    const end = bytes.indexOf(0)
    return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end))
  }
  let longName: string | undefined
  for (let at = 0; at + 512 <= archive.length && archive[at] !== 0; ) {
    const length = Number.parseInt(text(at + 124, 12), 8)
    const kind = text(at + 156, 1)
    const prefix = text(at + 345, 155)
    const name = longName ?? (prefix === '' ? text(at, 100) : `${prefix}/${text(at, 100)}`)
    longName = kind === 'L' ? text(at + 512, length) : undefined
    if (kind === '' || kind === '0') yield { name, bytes: archive.subarray(at + 512, at + 512 + length) }
    at += 512 + Math.ceil(length / 512) * 512
  }
}

/** All cases of the archive, in its order. */
export function readOnnxCases(path: string): OnnxCase[] {
  const cases = new Map<string, { model?: Uint8Array; sets: Map<string, Map<number, Uint8Array>> }>()
  for (const { name, bytes } of readTar(gunzipSync(readFileSync(path)))) {
    const match = /^(?:\.\/)?([^/]+\/[^/]+)\/(?:(test_data_set_\d+)\/)?(.*)$/.exec(name)
    if (!match) continue
    const [, key = '', set, file = ''] = match
    let entry = cases.get(key)
    if (!entry) cases.set(key, (entry = { sets: new Map() }))
    const input = /^input_(\d+)\.pb$/.exec(file)
    if (file.endsWith('.onnx')) entry.model = bytes
    else if (set) {
      if (!entry.sets.has(set)) entry.sets.set(set, new Map())
      if (input) entry.sets.get(set)!.set(Number(input[1]), bytes)
    }
  }
  return [...cases]
    .filter(([, { model }]) => model)
    .map(([name, { model, sets }]) => ({
      name,
      model: model!,
      inputs: [...sets.values()].map((set) => [...set].sort(([a], [b]) => a - b).map(([, bytes]) => bytes)),
    }))
}
