import type { StatBuffer } from '../../sys/stat.ts'
import { describeAt, type InodeBody } from '../inode/inode.ts'
import type { BytePath } from '../manifest/byte-path.ts'
import { XATTRS_MAX_BYTES } from '../manifest/record-codec.ts'
import { unsupported } from './errors.ts'

/** Bytes for the lengths of name and value of an extended attribute. */
const XATTR_HEAD_BYTES = 5

/** Describes the entries of a tree as far as a manifest can represent them. */
export class EntryDescriber {
  readonly #volume: string
  readonly #nocow: boolean

  /** `volume`: its name, for messages. `nocow`: the file system has that flag. */
  constructor(volume: string, nocow: boolean) {
    this.#volume = volume
    this.#nocow = nocow
  }

  /**
   * Describes the entry that `stat` has read: `name` in the directory `fd`; '' is that directory itself.
   * `path` is for messages. TREE_UNSUPPORTED: a manifest cannot represent the entry.
   */
  describe(fd: number, name: BytePath, path: BytePath, stat: StatBuffer): InodeBody {
    const body = describeAt(fd, name, stat, this.#nocow)
    if (body === null) throw unsupported(this.#volume, path, 'is of an unknown kind')
    if (body.xattrs.length === 0) return body
    const bytes = body.xattrs.reduce((sum, [key, value]) => sum + XATTR_HEAD_BYTES + key.length + value.length, 0)
    if (bytes > XATTRS_MAX_BYTES) throw unsupported(this.#volume, path, 'has too many extended attributes')
    return body
  }
}
