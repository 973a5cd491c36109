import type { BigIntStats } from 'node:fs'
import { createReadStream } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { writeDurably } from '../durable.ts'
import { errnoOf } from '../sys/failure.ts'
import type { InodeEntry } from './entry.ts'
import { decodeManifest, encodeManifest, type Manifest } from './manifest.ts'
import type { BytePath } from './path.ts'
import type { Seen } from './scan.ts'
import { bootId } from './tick.ts'

/** `last`: the tree at its last quiet capture or apply. `live`: the tree as it was last looked at in between. */
export type KeptKind = 'last' | 'live'

/** Inode number, ctime and the clean flag: 8 + 8 + 1 bytes per entry. */
const SEEN_BYTES = 17

export function manifestPath(directory: string, kind: KeptKind): string {
  return join(directory, `${kind}.manifest`)
}

function seenPath(directory: string, kind: KeptKind): string {
  return join(directory, `${kind}.seen`)
}

/** Keeps a manifest and what was seen of its entries. Durable on return; a crash leaves the old manifest or the new one. */
export async function keepTree(
  directory: string,
  kind: KeptKind,
  manifest: Manifest,
  seen: readonly (Seen | null)[],
): Promise<void> {
  const header = Buffer.from(`${JSON.stringify({ hash: manifest.hash, boot: await bootId() })}\n`)
  await writeDurably(seenPath(directory, kind), [Buffer.concat([header, encodeSeen(seen)])])
  await writeDurably(manifestPath(directory, kind), encodeManifest(manifest))
}

export async function dropKept(directory: string, kind: KeptKind): Promise<void> {
  await rm(manifestPath(directory, kind), { force: true })
  await rm(seenPath(directory, kind), { force: true })
}

/** Answers, for an entry's path and state now, what it was when a kept manifest saw it, if nothing can have changed since. */
export type Unchanged = (path: BytePath, stat: BigIntStats) => InodeEntry | undefined

/**
 * Loads what is kept; knows nothing where there is nothing or it is damaged or from before a reboot. A live look may
 * have been cut off, so what it lacks is looked for in the last one.
 */
export async function loadUnchanged(directory: string): Promise<Unchanged> {
  const live = await loadClean(directory, 'live')
  const last = await loadClean(directory, 'last')
  return (path, stat) => sameEntry(live?.get(path), stat) ?? sameEntry(last?.get(path), stat)
}

function sameEntry(found: { entry: InodeEntry; seen: Seen } | undefined, stat: BigIntStats): InodeEntry | undefined {
  if (found === undefined || found.seen.ino !== stat.ino || found.seen.ctimeNs !== stat.ctimeNs) return undefined
  const { entry } = found
  if (entry.mtimeNs !== stat.mtimeNs) return undefined
  if (entry.kind === 'file' && BigInt(entry.sizeBytes) !== stat.size) return undefined
  return entry
}

async function loadClean(
  directory: string,
  kind: KeptKind,
): Promise<Map<BytePath, { entry: InodeEntry; seen: Seen }> | null> {
  let manifest: Manifest
  let file: Buffer
  try {
    file = await readFile(seenPath(directory, kind))
    manifest = await decodeManifest(createReadStream(manifestPath(directory, kind)))
  } catch {
    // Only a saving of time: without it every file is read.
    return null
  }
  const headerEnd = file.indexOf(10)
  const expected = JSON.stringify({ hash: manifest.hash, boot: await bootId() })
  if (file.toString('utf8', 0, headerEnd) !== expected) return null
  const seen = file.subarray(headerEnd + 1)
  if (seen.length !== manifest.entries.length * SEEN_BYTES) return null
  const clean = new Map<BytePath, { entry: InodeEntry; seen: Seen }>()
  for (const [index, entry] of manifest.entries.entries()) {
    if (entry.kind === 'link') continue
    const state = decodeSeen(seen, index * SEEN_BYTES)
    if (state.clean) clean.set(entry.path, { entry, seen: state })
  }
  return clean
}

function encodeSeen(seen: readonly (Seen | null)[]): Buffer {
  const buffer = Buffer.alloc(seen.length * SEEN_BYTES)
  for (const [index, state] of seen.entries()) {
    if (state === null) continue
    const offset = index * SEEN_BYTES
    buffer.writeBigUInt64LE(state.ino, offset)
    buffer.writeBigInt64LE(state.ctimeNs, offset + 8)
    buffer.writeUInt8(state.clean ? 1 : 0, offset + 16)
  }
  return buffer
}

function decodeSeen(buffer: Buffer, offset: number): Seen {
  return {
    ino: buffer.readBigUInt64LE(offset),
    ctimeNs: buffer.readBigInt64LE(offset + 8),
    clean: buffer.readUInt8(offset + 16) === 1,
  }
}

/** Reads a kept manifest; null when there is none. Rejects MANIFEST_INVALID when it is damaged. */
export async function loadManifest(path: string): Promise<Manifest | null> {
  try {
    return await decodeManifest(createReadStream(path))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
}
