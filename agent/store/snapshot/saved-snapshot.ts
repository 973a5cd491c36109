import { link, open, readFile, rename, rm } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { syncDirectory, UNFINISHED, writeTogether } from '../../runtime/durable-file.ts'
import { type FaultPoint, noFault } from '../../runtime/fault-point.ts'
import { bootId } from '../../sys/boot-id.ts'
import { errnoOf } from '../../sys/failure.ts'
import type { Manifest } from '../manifest/manifest.ts'
import { parseManifest } from '../manifest/parser.ts'
import type { SnapshotRef } from '../snapshot-ref.ts'
import { ListFile } from './block-lists.ts'
import { InodeStates } from './inode-states.ts'
import { Places } from './list-offsets.ts'
import type { Snapshot } from './snapshot.ts'

/** `last`: the tree at its last quiet capture or apply. `live`: the tree as it was last looked at in between. */
export type KeptKind = Extract<SnapshotRef['kind'], 'last' | 'live'>
/**
 * `base`: the tree of the copy's checkpoint, while `last` is another one: a quiet capture that no checkpoint came of.
 */
type Slot = KeptKind | 'base'

/** A snapshot of which the parts are known, so that the next one can be made from it. */
export interface KeptTree extends Snapshot {
  readonly seen: InodeStates
  readonly lists: ListFile
}

/** What a scan need not read again. */
export interface Known {
  readonly last: KeptTree | null
  readonly live: KeptTree | null
}

const SLOTS = ['last', 'live', 'base'] as const
const PARTS = ['lists', 'places', 'seen', 'manifest'] as const
const NEWLINE = 10

function manifestPath(directory: string, kind: Slot): string {
  return partPath(directory, kind, 'manifest')
}

/** Where a scan of the copy in `directory` writes its block lists until they are kept; a leftover means nothing. */
export function scannedListsPath(directory: string): string {
  return join(directory, `scan.lists${UNFINISHED}`)
}

function partPath(directory: string, kind: Slot, part: (typeof PARTS)[number]): string {
  return join(directory, `${kind}.${part}`)
}

/**
 * Keeps a snapshot that was just scanned; its lists file becomes the kept one. What is kept already is not written again.
 * `known` is what the scan was given. Durable on return. A crash leaves the old snapshot or the new one, or parts that
 * do not belong together: then their files are all read again at the next scan.
 */
export async function saveSnapshot(
  directory: string,
  kind: KeptKind,
  tree: KeptTree,
  known: Known | null,
  faultPoint: FaultPoint = noFault,
): Promise<void> {
  const listsPath = partPath(directory, kind, 'lists')
  const kept = known?.[kind] ?? null
  if (kept !== null && isSame(kept, tree)) {
    // Lists that were made anew may be there because the kept ones were damaged.
    if (tree.lists.places.bytes > 0) {
      const files = await keepLists(directory, kind, tree.lists)
      await writeTogether(directory, files, () => faultPoint('lists-kept'))
    }
    return
  }
  const other = kind === 'last' ? 'live' : 'last'
  const twin = known?.[other] ?? null
  if (twin !== null && twin.manifest === tree.manifest && twin.seen === tree.seen) {
    await linkParts(directory, other, kind, faultPoint)
    tree.lists.moved(listsPath)
    return
  }
  const places = await keepLists(directory, kind, tree.lists)
  faultPoint('lists-kept')
  const header = Buffer.from(`${JSON.stringify({ hash: tree.manifest.hash, boot: await bootId() })}\n`)
  const seenPath = partPath(directory, kind, 'seen')
  const files = [
    ...places,
    { path: seenPath, chunks: [header, ...tree.seen.encoded()] },
    { path: manifestPath(directory, kind), chunks: tree.manifest.encoded() },
  ]
  await writeTogether(directory, files, (path) => faultPoint(`${extname(path).slice(1)}-kept`))
}

/** All files in which something may be kept of the copy in `directory`. */
export function keptPaths(directory: string): string[] {
  return SLOTS.flatMap((kind) => PARTS.map((part) => partPath(directory, kind, part)))
}

/** Moves a snapshot kept as `last` from one directory to another, in place of the one there; false: there is none. Durable on return; may be repeated after a crash. */
export async function adoptKept(from: string, to: string, faultPoint: FaultPoint): Promise<boolean> {
  if ((await loadManifest(manifestPath(from, 'last'))) === null) return false
  for (const part of PARTS) {
    try {
      await takeName(partPath(from, 'last', part), partPath(to, 'last', part))
    } catch (error) {
      // Moved before the crash, or a tree without large files, which has no lists.
      if (errnoOf(error) !== 'ENOENT') throw error
    }
    faultPoint(`${part}-adopted`)
  }
  await syncDirectory(to)
  await syncDirectory(from)
  return true
}

/** The tree of the copy's checkpoint is about to stop being `last`: it stays as `base`. Durable on return. */
export async function keepBase(directory: string, faultPoint: FaultPoint): Promise<void> {
  await linkParts(directory, 'last', 'base', faultPoint)
}

export async function dropKept(directory: string, kind: Slot): Promise<void> {
  for (const part of PARTS) await rm(partPath(directory, kind, part), { force: true })
}

/** What was seen of the tree's inodes counts no more: each file is read at the next look. Durable on return. */
export async function dropSeen(directory: string): Promise<void> {
  for (const kind of SLOTS) await rm(partPath(directory, kind, 'seen'), { force: true })
  await syncDirectory(directory)
}

/**
 * Loads what is kept; knows nothing where there is nothing or it is damaged: it only saves work. From before a reboot nothing is taken to be
 * as it was seen: every file is read, and the tags of its blocks tell what need not be hashed.
 */
export async function loadKnown(directory: string): Promise<Known> {
  return { live: await loadUndamaged(directory, 'live'), last: await loadUndamaged(directory, 'last') }
}

/** Of what `loadKnown` loads, `last` alone. */
export function loadLast(directory: string): Promise<KeptTree | null> {
  return loadUndamaged(directory, 'last')
}

/**
 * Loads the snapshot of the checkpoint with this hash (null: the copy has none): `last`, unless a later look replaced
 * it. Null: it is not known any more.
 */
export async function loadCheckpoint(directory: string, hash: string | null): Promise<KeptTree | null> {
  if (hash === null) return null
  for (const kind of ['last', 'base'] as const) {
    const tree = await loadUndamaged(directory, kind)
    if (tree?.manifest.hash === hash) return tree
  }
  return null
}

/** Loads a kept snapshot; null when there is none. What was seen before a reboot is not believed. Rejects MANIFEST_INVALID when its manifest is damaged. */
export async function loadSnapshot(directory: string, kind: Slot): Promise<KeptTree | null> {
  const manifest = await loadManifest(manifestPath(directory, kind))
  if (manifest === null) return null
  const places = Places.of(manifest, await readIfThere(partPath(directory, kind, 'places')))
  const lists = new ListFile(manifest, partPath(directory, kind, 'lists'), places)
  return { manifest, lists, seen: (await loadSeen(directory, kind, manifest)) ?? InodeStates.empty(manifest.count) }
}

/** Reads a manifest from a file; null when there is none. Rejects MANIFEST_INVALID when it is damaged. */
async function loadManifest(path: string): Promise<Manifest | null> {
  try {
    return await parseManifest(await readFile(path))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
}

function isSame(a: KeptTree, b: KeptTree): boolean {
  return a.manifest.hash === b.manifest.hash && (a.seen === b.seen || a.seen.equals(b.seen))
}

async function loadUndamaged(directory: string, kind: Slot): Promise<KeptTree | null> {
  try {
    return await loadSnapshot(directory, kind)
  } catch {
    // Only a saving of time: without it every file is read.
    return null
  }
}

/** null: what was seen is not of this manifest, or from before a reboot. */
async function loadSeen(directory: string, kind: Slot, manifest: Manifest): Promise<InodeStates | null> {
  const file = await readIfThere(partPath(directory, kind, 'seen'))
  if (file === null) return null
  const headerEnd = file.indexOf(NEWLINE)
  // Changes at every boot: after a power loss new data may lie under an old ctime, so nothing seen before counts.
  const expected = JSON.stringify({ hash: manifest.hash, boot: await bootId() })
  if (file.toString('utf8', 0, headerEnd) !== expected) return null
  return InodeStates.decode(file.subarray(headerEnd + 1), manifest.count)
}

/** Gives lists their name, durable when the directory is synced, which the caller does. Answers what is to be written beside them. */
async function keepLists(
  directory: string,
  kind: KeptKind,
  lists: ListFile,
): Promise<{ path: string; chunks: Buffer[] }[]> {
  const path = partPath(directory, kind, 'lists')
  if (lists.path === path) return []
  if (lists.places.bytes > 0) {
    await using file = await open(lists.path, 'r')
    await file.sync()
    await takeName(lists.path, path)
  } else await rm(path, { force: true })
  lists.moved(path)
  return [{ path: partPath(directory, kind, 'places'), chunks: [lists.places.encoded()] }]
}

/** As rename, also where both are names of the same file: then rename(2) does nothing. */
export async function takeName(from: string, to: string): Promise<void> {
  await rename(from, to)
  await rm(from, { force: true })
}

async function readIfThere(path: string): Promise<Buffer | null> {
  try {
    return await readFile(path)
  } catch {
    // It only saves work.
    return null
  }
}

/** The same snapshot under the other name. Kept files are replaced and never changed: a second link serves. */
async function linkParts(directory: string, from: Slot, to: Slot, faultPoint: FaultPoint): Promise<void> {
  for (const part of PARTS) {
    const path = partPath(directory, to, part)
    const unfinished = `${path}${UNFINISHED}`
    await rm(unfinished, { force: true })
    try {
      await link(partPath(directory, from, part), unfinished)
      await takeName(unfinished, path)
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error
      // A tree without large files has no lists.
      await rm(path, { force: true })
    }
    faultPoint(`${part}-linked`)
  }
  await syncDirectory(directory)
}
