/** What training in Node adds to the engine: checkpoints in a folder, samples prepared in threads. */
import { checkpointFolder, createWorkerLoader, type FinetuneOptions } from '../node/index.ts'
import type { FinetuneRuntime } from '../train/index.ts'

type Settings = Pick<FinetuneOptions, 'checkpoint' | 'workers' | 'sharedBytes' | 'script' | 'signal'>

/** The platform's part of a training runtime. */
export async function loaderOf({
  checkpoint,
  workers = 1,
  sharedBytes,
  script,
  signal,
}: Settings): Promise<Pick<FinetuneRuntime, 'checkpoints' | 'loader'>> {
  return {
    checkpoints: checkpoint === undefined ? undefined : await checkpointFolder(checkpoint),
    loader:
      workers === 0
        ? undefined
        : (data, settings) => createWorkerLoader(data, settings, { workers, sharedBytes, script, signal }),
  }
}
