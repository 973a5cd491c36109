import { join } from 'node:path'
import { WherryError } from '../../model/errors.ts'

/**
 * Paths of the parts of one copy.
 * All are on one file system, so renames can move them and one syncfs covers them.
 */
export interface Layout {
  readonly id: string
  readonly directory: string
  /** The copy's record, see record-file.ts. */
  readonly record: string
  /** The tree itself. */
  readonly data: string
  /** What was received and is not applied yet, see stage/stage.ts. */
  readonly stage: string
  /** What of a held volume's last checkpoint is kept for other hosts to read, see spool/spool.ts. */
  readonly spool: string
  /** Diverged trees that were set aside, see set-aside.ts. */
  readonly diverged: string
  /** The COMMIT of an apply, see stage/journal.ts. */
  readonly journal: string
  /** Written to read the file system's clock, see scan/fs-clock.ts. */
  readonly tick: string
}

export function volumesDirectory(stateDir: string): string {
  return join(stateDir, 'volumes')
}

export function trashDirectory(stateDir: string): string {
  return join(stateDir, 'trash')
}

/** Copies of volumes that were removed while this host was given up. */
export function asideDirectory(stateDir: string): string {
  return join(stateDir, 'set-aside')
}

/**
 * Returns the paths of a copy. REQUEST_INVALID: the id is no plain word.
 * Ids come over the network and become names of directories.
 */
export function layoutOf(stateDir: string, id: string): Layout {
  if (!/^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$/.test(id)) {
    throw new WherryError('REQUEST_INVALID', `${JSON.stringify(id.slice(0, 80))} is not a volume id.`)
  }
  const directory = join(volumesDirectory(stateDir), id)
  return {
    id,
    directory,
    record: join(directory, 'volume.json'),
    data: join(directory, 'data'),
    stage: join(directory, 'stage'),
    spool: join(directory, 'spool'),
    diverged: join(directory, 'diverged'),
    journal: join(directory, 'COMMIT'),
    tick: join(directory, 'tick'),
  }
}
