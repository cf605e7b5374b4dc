/** Checkpoints of a training in the browser's own database, where they outlive the page. */
import { messageOf, WhittleError } from '../core/index.ts'
import type { CheckpointStore } from '../train/index.ts'

const DATABASE = 'whittle'
const STORE = 'checkpoints'

/** A store of checkpoints that a page can empty. */
export interface BrowserCheckpoints extends CheckpointStore {
  /** Removes the checkpoint, if there is one. */
  delete(): Promise<void>
}

/**
 * A store of checkpoints in IndexedDB, for trainings that go on after a page was closed or reloaded.
 *
 * A checkpoint replaces the one before in one transaction: what interrupts it, a full disk for one, leaves the old one.
 *
 * @param name of the training; each has one checkpoint per origin.
 * @throws WhittleError `UNSUPPORTED` where there is no IndexedDB; reading and writing throw `INVALID_ARGUMENT` with the
 *   browser's reason.
 * @example
 * const checkpoints = browserCheckpoints('resnet20')
 * const { model } = await finetune(small, { data, epochs: 5, resume: true }, { ...runtime, checkpoints })
 * await checkpoints.delete()
 */
export function browserCheckpoints(name: string): BrowserCheckpoints {
  if (typeof indexedDB === 'undefined')
    throw new WhittleError('UNSUPPORTED', 'Checkpoints: need IndexedDB; this platform has none. Keep them in memory.')
  const where = `the browser's database, under '${name}'`
  const inStore = async <T>(mode: 'readonly' | 'readwrite', work: (store: IDBObjectStore) => IDBRequest<T>) => {
    try {
      const database = await open()
      try {
        return await settled(database, mode, work)
      } finally {
        database.close()
      }
    } catch (error) {
      const action = mode === 'readonly' ? 'read' : 'written'
      throw new WhittleError('INVALID_ARGUMENT', `Checkpoint in ${where}: cannot be ${action}: ${messageOf(error)}`, {
        cause: error,
      })
    }
  }
  return {
    where,
    async read() {
      const found: unknown = await inStore('readonly', (store) => store.get(name))
      return found instanceof Blob ? new Uint8Array(await found.arrayBuffer()) : undefined
    },
    async write(chunks) {
      const blob = new Blob(chunks as Uint8Array<ArrayBuffer>[])
      await inStore('readwrite', (store) => store.put(blob, name))
    },
    async delete() {
      await inStore('readwrite', (store) => store.delete(name))
    },
  }
}

function open(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1)
    request.onupgradeneeded = () => request.result.createObjectStore(STORE)
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}

/** Runs one request. @returns its result when the transaction is complete. */
function settled<T>(
  database: IDBDatabase,
  mode: 'readonly' | 'readwrite',
  work: (store: IDBObjectStore) => IDBRequest<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(STORE, mode, { durability: 'strict' })
    const request = work(transaction.objectStore(STORE))
    transaction.oncomplete = () => resolve(request.result)
    transaction.onabort = () => reject(transaction.error)
  })
}
