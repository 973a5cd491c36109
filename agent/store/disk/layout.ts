import { join } from 'node:path'
import { WherryError } from '../../model/errors.ts'

/** Where the parts of one copy lie. Everything is on one file system, so that renames move and one syncfs covers all. */
export interface Layout {
  readonly id: string
  readonly directory: string
  /** What the disk says of the copy, see copies/record.ts. */
  readonly record: string
  /** The tree itself. */
  readonly data: string
  /** What has been received and not yet applied, see stage/stage.ts. */
  readonly stage: string
  /** What of a held volume's last checkpoint is kept for others to read, see spool/spool.ts. */
  readonly spool: string
  /** Trees that were put aside, see diverged/diverging.ts. */
  readonly diverged: string
  /** The COMMIT of an apply, see stage/journal.ts. */
  readonly journal: string
  /** Written to read the file system's clock, see capture/tick.ts. */
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

/** Throws REQUEST_INVALID for an id that is not a plain word: ids come over the network and become names of directories. */
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
