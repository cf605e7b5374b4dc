/**
 * NumPy's `.npz` archives as datasets: `x` and `y`, the pairs `x_train`, `y_train`, `x_test`, `y_test` that Keras uses,
 * or one array per model input under the input's name, with `y` for the labels.
 */
import { fail } from '../core/index.ts'
import type { ByteSource } from './byte-source.ts'
import type { Dataset } from './dataset.ts'
import { openNpy } from './npy.ts'
import { type RowArray, rowsDataset } from './rows-dataset.ts'
import { openZip, type ZipMember } from './zip.ts'

/** Options of {@link npzDataset}. */
export interface NpzOptions {
  /** For records; default `npz`. */
  readonly name?: string | undefined
  /** Which of `x_train`, `x_test` is read when there is no `x`; default `'test'`. */
  readonly split?: 'train' | 'test' | undefined
}

/**
 * Opens an archive. Rows keep their type, layout and values (nothing is scaled or transposed); archives of `np.savez`
 * are read by ranges, those of `np.savez_compressed` unpacked into memory.
 *
 * @throws WhittleError `INVALID_FILE` when it is no zip or an array in it is damaged; `UNSUPPORTED` for objects and text;
 *   `INVALID_DATA` when no array can be an input, there are no samples, or counts differ.
 */
export async function npzDataset(file: ByteSource, options: NpzOptions = {}): Promise<Dataset> {
  const members = new Map<string, ZipMember>()
  for (const member of await openZip(file))
    if (member.name.endsWith('.npy')) members.set(member.name.slice(0, -4), member)
  const split = options.split ?? 'test'
  const suffix = members.has('x') ? '' : members.has(`x_${split}`) ? `_${split}` : undefined
  const labelName = `y${suffix ?? ''}`
  const names = suffix === undefined ? [...members.keys()].filter((key) => key !== 'y') : [`x${suffix}`]
  if (names.length === 0)
    fail(
      'INVALID_DATA',
      `npz file '${file.name}' must hold an array 'x' (inputs), and 'y' for labels; got ` +
        `${members.size ? [...members.keys()].map((key) => `'${key}'`).join(', ') : 'no arrays'}.`,
    )
  const open = async (name: string): Promise<RowArray> => openNpy(await members.get(name)!.open())
  return rowsDataset({
    name: options.name ?? 'npz',
    inputs: await Promise.all(names.map(open)),
    labels: members.has(labelName) ? await open(labelName) : undefined,
    inputNames: suffix === undefined ? names : undefined,
  })
}
