/** The operating system's words about files, in ours. */
import { messageOf, WhittleError } from '../core/index.ts'

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or folder. Check the path.',
  EACCES: 'permission is denied. Check the permissions.',
  EPERM: 'permission is denied. Check the permissions.',
  EISDIR: 'it is a folder. Give the name of a file.',
  ENOTDIR: 'a part of the path is a file, not a folder. Check the path.',
  ENOSPC: 'the disk is full. Free some space.',
  EROFS: 'the disk is read-only. Choose another folder.',
  EMFILE: 'too many files are open. Raise the limit (ulimit -n).',
  ENAMETOOLONG: 'the name is too long. Choose a shorter one.',
  ELOOP: 'its symbolic links go round in a circle. Check the path.',
}

/**
 * Turns an error of `node:fs` into one of ours; errors of ours pass unchanged.
 *
 * @returns never; use as `throw fileError(…)` where control flow matters.
 */
export function fileError(error: unknown, action: 'read' | 'write', path: string): WhittleError {
  if (error instanceof WhittleError) return error
  const { code } = error as NodeJS.ErrnoException
  const reason = (code !== undefined && REASONS[code]) || `${messageOf(error)}.`
  const kind = code === 'ENOENT' && action === 'read' ? 'NOT_FOUND' : 'INVALID_ARGUMENT'
  return new WhittleError(kind, `File '${path}' cannot be ${action === 'read' ? 'read' : 'written'}: ${reason}`, {
    cause: error,
  })
}

/** Runs `work`, translating errors of `node:fs`. */
export function withFileErrors<T>(action: 'read' | 'write', path: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw fileError(error, action, path)
  }
}
