import { link, open, readFile, rename, rm } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { syncDirectory, UNFINISHED, writeTogether } from '../../runtime/durable-file.ts'
import { type FaultPoint, noFault } from '../../runtime/fault-point.ts'
import { bootId } from '../../sys/boot-id.ts'
import { errnoOf } from '../../sys/failure.ts'
import type { Manifest } from '../manifest/manifest.ts'
import { parseManifest } from '../manifest/parser.ts'
import type { SnapshotRef } from '../tree-contract.ts'
import { BlockListFile } from './block-lists.ts'
import { InodeStates } from './inode-states.ts'
import { ListOffsets } from './list-offsets.ts'
import type { Snapshot } from './snapshot.ts'

/** `last`: the tree at its last quiet capture or apply. `live`: the tree at a later scan. */
export type SavedKind = Extract<SnapshotRef['kind'], 'last' | 'live'>
/** `base`: the tree of the copy's checkpoint, while `last` is a quiet capture that did not become a checkpoint. */
type SavedSlot = SavedKind | 'base'

/** A snapshot whose parts are known, so that the next one can be made from it. */
export interface SavedTree extends Snapshot {
  readonly seen: InodeStates
  readonly lists: BlockListFile
}

/** The saved trees that a scan starts from: what they prove unchanged is not read again. */
export interface KnownTrees {
  readonly last: SavedTree | null
  readonly live: SavedTree | null
}

const SLOTS = ['last', 'live', 'base'] as const
const PARTS = ['lists', 'places', 'seen', 'manifest'] as const
const NEWLINE = 10

function manifestPath(directory: string, kind: SavedSlot): string {
  return partPath(directory, kind, 'manifest')
}

/**
 * Where a scan of the copy in `directory` writes its block lists until they are saved.
 * A leftover means nothing.
 */
export function scannedListsPath(directory: string): string {
  return join(directory, `scan.lists${UNFINISHED}`)
}

function partPath(directory: string, kind: SavedSlot, part: (typeof PARTS)[number]): string {
  return join(directory, `${kind}.${part}`)
}

/**
 * Saves a snapshot that was just scanned; its lists file becomes the saved one. Durable on return.
 * Parts that are saved already are not written again. `known` is what the scan started from.
 * A crash leaves the old snapshot, the new one, or parts that do not belong together. In the last case the next
 * scan reads all files again.
 */
export async function saveSnapshot(
  directory: string,
  kind: SavedKind,
  tree: SavedTree,
  known: KnownTrees | null,
  faultPoint: FaultPoint = noFault,
): Promise<void> {
  const listsPath = partPath(directory, kind, 'lists')
  const kept = known?.[kind] ?? null
  if (kept !== null && isSame(kept, tree)) {
    // The lists may be new because the saved ones were damaged.
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

/** Returns all files that may have something saved of the copy in `directory`. */
export function savedPaths(directory: string): string[] {
  return SLOTS.flatMap((kind) => PARTS.map((part) => partPath(directory, kind, part)))
}

/**
 * Moves the tree saved as `last` from one directory to another; false: there is none.
 * Replaces the one there. Durable on return. May be repeated after a crash.
 */
export async function adoptSaved(from: string, to: string, faultPoint: FaultPoint): Promise<boolean> {
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

/**
 * Saves the tree of the copy's checkpoint as `base`, before another one becomes `last`.
 * Durable on return.
 */
export async function saveBase(directory: string, faultPoint: FaultPoint): Promise<void> {
  await linkParts(directory, 'last', 'base', faultPoint)
}

export async function dropSaved(directory: string, kind: SavedSlot): Promise<void> {
  for (const part of PARTS) await rm(partPath(directory, kind, part), { force: true })
}

/** Removes the recorded inode states: the next scan reads each file. Durable on return. */
export async function dropInodeStates(directory: string): Promise<void> {
  for (const kind of SLOTS) await rm(partPath(directory, kind, 'seen'), { force: true })
  await syncDirectory(directory)
}

/**
 * Loads the saved trees; null where one is missing or damaged, because they only save work.
 * After a reboot no inode state counts: every file is read, and the tags of its blocks save hashing.
 */
export async function loadKnown(directory: string): Promise<KnownTrees> {
  return { live: await loadUndamaged(directory, 'live'), last: await loadUndamaged(directory, 'last') }
}

/** Loads `last` alone, as `loadKnown` does. */
export function loadLast(directory: string): Promise<SavedTree | null> {
  return loadUndamaged(directory, 'last')
}

/**
 * Loads the tree of the checkpoint with this hash: `last`, or `base` if a later scan has replaced it.
 * Null: it is not saved any more. `hash` null: the copy has no checkpoint.
 */
export async function loadCheckpoint(directory: string, hash: string | null): Promise<SavedTree | null> {
  if (hash === null) return null
  for (const kind of ['last', 'base'] as const) {
    const tree = await loadUndamaged(directory, kind)
    if (tree?.manifest.hash === hash) return tree
  }
  return null
}

/**
 * Loads a saved tree; null when there is none. Inode states from before a reboot do not count.
 * MANIFEST_INVALID: its manifest is damaged.
 */
export async function loadSnapshot(directory: string, kind: SavedSlot): Promise<SavedTree | null> {
  const manifest = await loadManifest(manifestPath(directory, kind))
  if (manifest === null) return null
  const places = ListOffsets.of(manifest, await readIfThere(partPath(directory, kind, 'places')))
  const lists = new BlockListFile(manifest, partPath(directory, kind, 'lists'), places)
  return { manifest, lists, seen: (await loadSeen(directory, kind, manifest)) ?? InodeStates.empty(manifest.count) }
}

/** Reads a manifest from a file; null when there is none. MANIFEST_INVALID: it is damaged. */
async function loadManifest(path: string): Promise<Manifest | null> {
  try {
    return await parseManifest(await readFile(path))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
}

function isSame(a: SavedTree, b: SavedTree): boolean {
  return a.manifest.hash === b.manifest.hash && (a.seen === b.seen || a.seen.equals(b.seen))
}

async function loadUndamaged(directory: string, kind: SavedSlot): Promise<SavedTree | null> {
  try {
    return await loadSnapshot(directory, kind)
  } catch {
    // It only saves time: without it every file is read.
    return null
  }
}

/** Null: the inode states are not of this manifest, or from before a reboot. */
async function loadSeen(directory: string, kind: SavedSlot, manifest: Manifest): Promise<InodeStates | null> {
  const file = await readIfThere(partPath(directory, kind, 'seen'))
  if (file === null) return null
  const headerEnd = file.indexOf(NEWLINE)
  // The boot id changes at every boot: after a power loss new data may lie under an old ctime.
  const expected = JSON.stringify({ hash: manifest.hash, boot: await bootId() })
  if (file.toString('utf8', 0, headerEnd) !== expected) return null
  return InodeStates.decode(file.subarray(headerEnd + 1), manifest.count)
}

/**
 * Gives the lists file its name; returns what is to be written beside it.
 * Durable once the caller has synced the directory.
 */
async function keepLists(
  directory: string,
  kind: SavedKind,
  lists: BlockListFile,
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

/**
 * Saves the same tree under another kind.
 * Saved files are replaced and never changed, so a hard link serves.
 */
async function linkParts(directory: string, from: SavedSlot, to: SavedSlot, faultPoint: FaultPoint): Promise<void> {
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
