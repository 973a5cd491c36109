import { readdir, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { syncDirectory, writeDurably } from '../../runtime/durable-file.ts'
import type { FaultPoint } from '../../runtime/fault-point.ts'
import { errnoOf } from '../../sys/failure.ts'
import type { Layout } from '../disk/layout.ts'
import { removeIfThere } from '../inode/removal.ts'
import { adoptKept, dropKept, saveSnapshot } from '../snapshot/saved-snapshot.ts'
import type { CheckpointBuilder } from './checkpoint-builder.ts'
import { SpoolIndex } from './spool-index.ts'

const MAKING = 'next'

/** Where a spool is made. A leftover means nothing. */
export function makingDirectory(layout: Layout): string {
  return join(layout.spool, MAKING)
}

/** The spool of the checkpoint with this hash. The record says which checkpoint that is: all others mean nothing. */
export function spoolDirectory(layout: Layout, hash: string): string {
  return join(layout.spool, hash)
}

/** Puts a spool with the snapshot of its tree in its place, durably. It counts when the record names its checkpoint. */
export async function placeSpool(layout: Layout, rounds: CheckpointBuilder, faultPoint: FaultPoint): Promise<void> {
  const { captured, making } = rounds
  if (captured === null) throw new TypeError('nothing was captured')
  if (rounds.placed) return
  const directory = makingDirectory(layout)
  await making.sync()
  faultPoint('spool-synced')
  await writeDurably(indexPath(directory), [making.index.encoded()])
  faultPoint('spool-index-kept')
  await saveSnapshot(directory, 'last', captured.tree, null, faultPoint)
  const place = spoolDirectory(layout, captured.capture.hash)
  await removeIfThere(place)
  await rename(directory, place)
  rounds.placed = true
  await syncDirectory(layout.spool)
  faultPoint('spool-placed')
}

/** After the record has named the checkpoint: the snapshot becomes the copy's last, other spools go but for one in the making. May be repeated. */
export async function adoptSpool(layout: Layout, hash: string, faultPoint: FaultPoint): Promise<void> {
  const place = spoolDirectory(layout, hash)
  if (await adoptKept(place, layout.directory, faultPoint)) {
    await dropKept(layout.directory, 'live')
    faultPoint('live-dropped')
    await dropKept(layout.directory, 'base')
    faultPoint('base-dropped')
  }
  for (const name of await namesIn(layout.spool)) {
    if (name === hash || name === MAKING) continue
    await removeIfThere(join(layout.spool, name))
    faultPoint('old-spool-removed')
  }
}

/** Reads what a spool has; nothing where it is not there or damaged: copies look for it in the live tree then. */
export async function loadIndex(layout: Layout, hash: string): Promise<SpoolIndex> {
  try {
    const index = SpoolIndex.decode(await readFile(indexPath(spoolDirectory(layout, hash))))
    return index ?? new SpoolIndex()
  } catch {
    return new SpoolIndex()
  }
}

async function namesIn(directory: string): Promise<string[]> {
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
