import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { WherryError } from '../errors.ts'
import { errnoOf } from '../sys/failure.ts'
import { makeInode, sameAttributes, setAttributes } from './attributes.ts'
import type { InodeEntry } from './entry.ts'
import { attributesOf, lstat } from './inode.ts'
import type { Manifest } from './manifest.ts'
import { printable } from './path.ts'

/**
 * Tries out in `directory` what this host's file system could refuse: one entry of each kind with each set of xattr
 * names (the largest), the oldest and the newest time. A tree that cannot be held here must be refused before the old
 * one is touched: TREE_UNSUPPORTED, naming an entry.
 */
export async function rehearse(target: Manifest, directory: string): Promise<void> {
  const place = Buffer.from(join(directory, 'rehearsal'))
  for (const entry of samples(target)) {
    await rm(place, { recursive: true, force: true })
    try {
      makeInode(place, entry)
      setAttributes(place, entry)
      if (!sameAttributes(attributesOf(place, lstat(place)), entry)) throw unsupported(entry)
    } catch (error) {
      const errno = errnoOf(error)
      if (errno === undefined || errno === 'ENOSPC' || errno === 'EDQUOT') throw error
      throw unsupported(entry, error)
    }
  }
  await rm(place, { recursive: true, force: true })
}

function samples(target: Manifest): Iterable<InodeEntry> {
  const chosen = new Map<string, InodeEntry>()
  const offer = (key: string, entry: InodeEntry, better: (chosen: InodeEntry) => boolean) => {
    const known = chosen.get(key)
    if (known === undefined || better(known)) chosen.set(key, entry)
  }
  for (const entry of target.entries) {
    if (entry.kind === 'link') continue
    const names = entry.xattrs.map(([name]) => name).join()
    offer(`${entry.kind} ${names}`, entry, (known) => xattrSize(known) < xattrSize(entry))
    offer('oldest', entry, (known) => known.mtimeNs > entry.mtimeNs)
    offer('newest', entry, (known) => known.mtimeNs < entry.mtimeNs)
  }
  return chosen.values()
}

function xattrSize(entry: InodeEntry): number {
  return entry.xattrs.reduce((sum, [, value]) => sum + value.length, 0)
}

function unsupported(entry: InodeEntry, cause?: unknown): WherryError {
  const why = errnoOf(cause)
  return new WherryError(
    'TREE_UNSUPPORTED',
    `This host's file system cannot hold ${printable(entry.path)} as it is on the other host${why === undefined ? '' : ` (${why})`}.`,
    { hint: 'Use the same kind of file system on all hosts, and the capabilities of the plugin as shipped.', cause },
  )
}
