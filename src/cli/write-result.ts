/** Writing what a command made: the model, its record beside it, and what else belongs to them, or nothing of it. */
import type { Model } from '../graph/index.ts'
import { recordPath, StagedFiles, stageModel } from '../node/index.ts'

/**
 * Writes a model and its record, all or nothing.
 *
 * @param others texts of further files, by path.
 */
export async function writeResult(
  output: string,
  { model, record }: { readonly model: Model; readonly record: object },
  signal: AbortSignal,
  others: Readonly<Record<string, string>> = {},
): Promise<void> {
  const files = new StagedFiles()
  try {
    await stageModel(files, model, output, { signal })
    await files.writeText(recordPath(output), `${JSON.stringify(record, null, 2)}\n`)
    for (const [path, text] of Object.entries(others)) await files.writeText(path, text)
    files.commit()
  } finally {
    files.discard()
  }
}
