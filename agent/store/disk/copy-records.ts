import { access, chmod, chown, mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { codeOf, WherryError } from '../../model/errors.ts'
import type { VolumeOptions } from '../../model/model.ts'
import { syncDirectory } from '../../runtime/durable-file.ts'
import { KeyedQueue } from '../../runtime/keyed-queue.ts'
import type { DamagedCopy, LocalCopy } from '../contract.ts'
import { removeTree } from '../inode/removal.ts'
import { orDiskFull } from './free-space.ts'
import { type Layout, layoutOf, volumesDirectory } from './layout.ts'
import { bareCopy } from './new-copy.ts'
import { readCopyRecord, readName, requireCopyRecord, writeCopyRecord } from './record-file.ts'

/** Prefix of directories that are being made and do not count yet. */
const UNBORN = '.new-'

/** Makes the empty tree of a new volume. */
export async function makeTree(path: string, { uid, gid, mode }: VolumeOptions): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 })
  await chown(path, uid, gid)
  await chmod(path, mode)
}

function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

/** All copies of this disk, by their `volume.json`. Changes of one copy run one after another. */
export class CopyRecords {
  readonly #stateDir: string
  readonly #volumes: string
  readonly #lanes = new KeyedQueue()

  constructor(stateDir: string) {
    this.#stateDir = stateDir
    this.#volumes = volumesDirectory(stateDir)
  }

  /** Reads every copy; what cannot be understood is named in `damaged`. */
  async all(): Promise<{ copies: LocalCopy[]; damaged: DamagedCopy[] }> {
    const copies: LocalCopy[] = []
    const damaged: DamagedCopy[] = []
    for (const name of await readdir(this.#volumes)) {
      if (name.startsWith(UNBORN)) continue
      const path = join(this.#volumes, name)
      try {
        const copy = await readCopyRecord(layoutOf(this.#stateDir, name))
        if (copy !== null) copies.push(copy)
        // A copy that was moved to the trash since the names were read is no copy any more.
        else if (await isThere(path)) damaged.push({ path, reason: 'volume.json is missing' })
      } catch (error) {
        const reason = error instanceof WherryError ? error.message : String(error)
        damaged.push({ path, reason, code: codeOf(error), name: await readName(layoutOf(this.#stateDir, name)) })
      }
    }
    return { copies, damaged }
  }

  /**
   * Makes an empty copy if there is none. Durable on return.
   * It is made under another name and renamed, so that a crash leaves no half-made copy.
   */
  create(layout: Layout, volume: { id: string; name: string; options: VolumeOptions }): Promise<LocalCopy> {
    return this.#lanes.run(layout.id, async () => {
      const known = await readCopyRecord(layout)
      if (known !== null) return known
      const { id, name, options } = volume
      const copy = bareCopy(volume)
      const directory = join(this.#volumes, `${UNBORN}${id}`)
      const data = join(directory, 'data')
      await rm(directory, { recursive: true, force: true })
      await orDiskFull(this.#volumes, name, async () => {
        await makeTree(data, options)
        await writeCopyRecord({ ...layout, directory, record: join(directory, 'volume.json') }, copy)
        await rename(directory, layout.directory)
        await syncDirectory(this.#volumes)
      })
      return copy
    })
  }

  /** Changes one copy's fields; `epochSeen` never goes down. Durable on return. */
  update(layout: Layout, change: Partial<Omit<LocalCopy, 'id'>>): Promise<LocalCopy> {
    return this.change(layout, () => change)
  }

  /** As `update`, for a change that depends on the present record; null: nothing changes. */
  change(layout: Layout, decide: (copy: LocalCopy) => Partial<Omit<LocalCopy, 'id'>> | null): Promise<LocalCopy> {
    return this.#lanes.run(layout.id, async () => {
      const copy = await requireCopyRecord(layout)
      const change = decide(copy)
      if (change === null) return copy
      const epochSeen = Math.max(copy.epochSeen, change.epochSeen ?? 0)
      const changed = { ...copy, ...change, id: copy.id, epochSeen }
      await orDiskFull(layout.directory, copy.name, () => writeCopyRecord(layout, changed))
      return changed
    })
  }

  /** Removes copies that a crash left half-made. */
  async removeUnborn(): Promise<void> {
    for (const name of await readdir(this.#volumes)) {
      if (name.startsWith(UNBORN)) await removeTree(join(this.#volumes, name))
    }
  }
}
