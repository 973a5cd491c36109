import { readdir, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { syncDirectory, writeDurably } from '../../runtime/durable-file.ts'
import type { FaultPoint } from '../../runtime/fault-point.ts'
import { errnoOf } from '../../sys/failure.ts'
import type { Layout } from '../disk/layout.ts'
import { removeIfThere } from '../inode/removal.ts'
import { adoptSaved, dropSaved, saveSnapshot } from '../snapshot/saved-snapshot.ts'
import type { CheckpointBuilder } from './checkpoint-builder.ts'
import { SpoolIndex } from './spool-index.ts'

const MAKING = 'next'

/** Where a spool is built. A leftover means nothing. */
export function nextSpoolDirectory(layout: Layout): string {
  return join(layout.spool, MAKING)
}

/** The spool of the checkpoint with this hash. Only the one of the record's checkpoint counts. */
export function spoolDirectory(layout: Layout, hash: string): string {
  return join(layout.spool, hash)
}

/**
 * Moves a spool with its tree's snapshot to its place, durably.
 * It counts once the record names its checkpoint.
 */
export async function placeSpool(layout: Layout, builder: CheckpointBuilder, faultPoint: FaultPoint): Promise<void> {
  const { captured, writer } = builder
  if (captured === null) throw new TypeError('nothing was captured')
  if (builder.placed) return
  const directory = nextSpoolDirectory(layout)
  await writer.sync()
  faultPoint('spool-synced')
  await writeDurably(indexPath(directory), [writer.index.encoded()])
  faultPoint('spool-index-kept')
  await saveSnapshot(directory, 'last', captured.tree, null, faultPoint)
  const place = spoolDirectory(layout, captured.capture.hash)
  await removeIfThere(place)
  await rename(directory, place)
  builder.placed = true
  await syncDirectory(layout.spool)
  faultPoint('spool-placed')
}

/**
 * Makes the spool's snapshot the copy's `last`, after the record has named its checkpoint.
 * May be repeated.
 * Removes other spools, except for one being built.
 */
export async function adoptSpool(layout: Layout, hash: string, faultPoint: FaultPoint): Promise<void> {
  const place = spoolDirectory(layout, hash)
  if (await adoptSaved(place, layout.directory, faultPoint)) {
    await dropSaved(layout.directory, 'live')
    faultPoint('live-dropped')
    await dropSaved(layout.directory, 'base')
    faultPoint('base-dropped')
  }
  for (const name of await entriesOf(layout.spool)) {
    if (name === hash || name === MAKING) continue
    await removeIfThere(join(layout.spool, name))
    faultPoint('old-spool-removed')
  }
}

/**
 * Reads what a spool has; an empty index when it is missing or damaged.
 * Copies then read the live tree.
 */
export async function loadIndex(layout: Layout, hash: string): Promise<SpoolIndex> {
  try {
    const index = SpoolIndex.decode(await readFile(indexPath(spoolDirectory(layout, hash))))
    return index ?? new SpoolIndex()
  } catch {
    return new SpoolIndex()
  }
}

async function entriesOf(directory: string): Promise<string[]> {
  try {
    return await readdir(directory)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
    return []
  }
}

function indexPath(directory: string): string {
  return join(directory, 'index')
}
