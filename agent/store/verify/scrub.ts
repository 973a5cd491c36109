import { closeSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { WherryError } from '../../model/errors.ts'
import { HASH_BYTES } from '../blocks/block-size.ts'
import type { LocalCopy, Verification } from '../contract.ts'
import { orDiskFull } from '../disk/free-space.ts'
import type { Layout } from '../disk/layout.ts'
import { openRoot } from '../inode/directory.ts'
import { Mirror } from '../inode/mirror.ts'
import type { Manifest } from '../manifest/manifest.ts'
import { readClockAndSync } from '../scan/fs-clock.ts'
import { scanTree } from '../scan/scan.ts'
import { InodeStatesBuilder } from '../snapshot/inode-states.ts'
import {
  dropSaved,
  loadCheckpoint,
  loadSnapshot,
  type SavedTree,
  saveSnapshot,
  scannedListsPath,
} from '../snapshot/saved-snapshot.ts'
import type { BlockPool } from '../workers/contract.ts'
import { compareContent, compareEntries, Findings } from './verify.ts'

/** The record is read often; the report of the scrub names more. */
const RECORDED_PATHS_MAX = 20
/** Contents are compared separately, not through the scan's description. */
const NOT_READ = { hash: Buffer.alloc(HASH_BYTES) }

export interface ScrubParts {
  readonly layout: Layout
  /** The volume's name, for messages. */
  readonly volume: string
  readonly copy: LocalCopy
  readonly pool: BlockPool
  /** Notes in the copy's record which paths are damaged, durably. VOLUME_IN_USE if it is held by now. */
  readonly note: (damaged: readonly string[] | null) => Promise<unknown>
  readonly signal: AbortSignal
}

/**
 * Reads a copy at rest again and compares it with the manifest of its last checkpoint, see Store.verify.
 * Drops the saved states of damaged entries, durably: the next scan reads them again, and the next copy of the same
 * checkpoint brings what differs.
 */
export async function scrub(parts: ScrubParts): Promise<Verification> {
  const { layout, volume, copy, pool, note, signal } = parts
  signal.throwIfAborted()
  const kept = await loadSnapshot(layout.directory, 'last')
  const hash = copy.checkpoint?.hash ?? kept?.manifest.hash
  // A scan before a Mount may have found another tree here: the checkpoint's manifest counts.
  const last = kept?.manifest.hash === hash ? kept : await loadCheckpoint(layout.directory, hash ?? null)
  if (last === null) {
    throw new WherryError('NOT_AT_CHECKPOINT', `Volume ${volume} has no manifest of a checkpoint on this host.`, {
      hint: 'There is nothing to compare the copy with yet. Copy the volume to this host, or use it here once.',
    })
  }
  const findings = new Findings()
  const files = compareEntries(
    last.manifest,
    await orDiskFull(layout.directory, volume, () => describe(parts)),
    findings,
  )
  const { manifest, lists } = last
  await compareContent({ tree: new Mirror(layout.data), manifest, lists, pool, signal }, files, findings)
  if (findings.damagedCount > 0) {
    await orDiskFull(layout.directory, volume, () => dropFileStates(layout.directory, last, findings.suspect))
    const paths = new Set(findings.damaged.map(({ path }) => path))
    await note([...paths].slice(0, RECORDED_PATHS_MAX))
  } else if (copy.damaged !== null) {
    await note(null)
  }
  const { filesChecked, bytesRead, damaged, damagedCount } = findings
  return { filesChecked, bytesRead, damaged, damagedCount }
}

/** Describes the tree as it is, without any saved state; contents are left out. */
async function describe({ layout, volume, pool, signal }: ScrubParts): Promise<Manifest> {
  const lists = scannedListsPath(layout.directory)
  const tickNs = await readClockAndSync(layout.tick)
  const root = openRoot(layout.data)
  try {
    const options = { volume, quiet: true, tickNs, known: null, pool, signal, lists }
    return (await scanTree(root, { ...options, content: () => NOT_READ })).manifest
  } finally {
    closeSync(root)
    await rm(lists, { force: true })
  }
}

/** Saves the last checkpoint's manifest without the states of some of its entries. Durable on return. */
async function dropFileStates(directory: string, last: SavedTree, suspect: ReadonlySet<number>): Promise<void> {
  const seen = new InodeStatesBuilder()
  seen.copyFirst(last.seen, last.manifest.count)
  for (const index of suspect) seen.setClean(index, false)
  await saveSnapshot(directory, 'last', { ...last, seen: seen.finish() }, null)
  await dropSaved(directory, 'live')
  await dropSaved(directory, 'base')
}
