import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { pino } from 'pino'
import { ulid } from 'ulid'
import type { Checkpoint } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import type { FaultPoint } from '../../../agent/runtime/fault-point.ts'
import type { TreeStore } from '../../../agent/store/contract.ts'
import { openStore, type StoreOptions } from '../../../agent/store/store.ts'
import type { BlockRequest, SnapshotRef, TreeReader, TreeWriter } from '../../../agent/store/tree-contract.ts'

export const silentLog = pino({ level: 'silent' })
export const VOLUME_OPTIONS = DEFAULT_OPTIONS

/** A directory on a real file system that goes away with the test. */
export async function temporaryDirectory(t: Pick<ExecutionContext, 'teardown'>): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'wherry-store-'))
  t.teardown(() => deleteTree(path))
  return path
}

/** Node's own rm cannot remove names that are not UTF-8, nor what is immutable. */
export function deleteTree(path: string): void {
  // It complains of what can have no flags (pipes, symlinks) and of paths that are too long: rm tells what counts.
  spawnSync('chattr', ['-R', '-f', '-i', '-a', path], { stdio: 'ignore' })
  execFileSync('rm', ['-rf', path])
}

export interface StoreHost {
  readonly store: TreeStore & AsyncDisposable
  readonly stateDir: string
  /** The tree of a volume. */
  readonly data: (id: string) => string
}

export async function storeHost(
  t: Pick<ExecutionContext, 'teardown'>,
  stateDir?: string,
  faultPoint: FaultPoint = () => {},
  more: Partial<StoreOptions> = {},
): Promise<StoreHost> {
  const state = stateDir ?? (await temporaryDirectory(t))
  const options = {
    stateDir: state,
    mountRoot: join(state, 'mnt'),
    trashRetentionMs: 1000,
    log: silentLog,
    faultPoint,
    ...more,
  }
  const store = await openStore(options)
  t.teardown(() => store[Symbol.asyncDispose]())
  return { store, stateDir: state, data: (id) => join(state, 'volumes', id, 'data') }
}

export function newVolume(): { id: string; name: string; options: typeof VOLUME_OPTIONS } {
  return { id: ulid(), name: 'data', options: VOLUME_OPTIONS }
}

export function captureCheckpoint(capture: { hash: string; bytes: number; files: number }, seq = 1): Checkpoint {
  const { hash, bytes, files } = capture
  return { epoch: 1, seq, hash, bytes, files, at: '2026-01-01T00:00:00.000Z' }
}

export const calm = new AbortController().signal

/** What went from one store to the other: bytes of content; whether all that is needed has come. */
export interface Sent {
  readonly sentBytes: number
  readonly complete: boolean
  readonly hash: string
}

/** Carries what the receiver lacks from one store's tree to another's stage; `limitBytes` cuts it off on the way. */
export async function send(
  from: TreeStore,
  to: TreeStore,
  volume: { id: string; name: string; options: typeof VOLUME_OPTIONS },
  kind: SnapshotRef['kind'] = 'last',
  limitBytes = Number.POSITIVE_INFINITY,
): Promise<Sent> {
  await using reader = await from.reader({ id: volume.id, kind })
  await using writer = await to.writer(volume)
  let sentBytes = 0
  await writer.begin(reader.manifest())
  for (let want = await writer.next(); want !== null; want = await writer.next()) {
    sentBytes += await answer(reader, writer, want)
    if (sentBytes >= limitBytes) return { sentBytes, complete: false, hash: reader.hash }
  }
  return { sentBytes, complete: await writer.finish(), hash: reader.hash }
}

/** Gives the writer what it wants; answers the bytes of content. */
export async function answer(reader: TreeReader, writer: TreeWriter, want: BlockRequest): Promise<number> {
  if (want.kind === 'files') {
    const { data, changed } = await reader.files(want.indexes)
    const { length } = data
    await writer.takeFiles(want.indexes, data, changed)
    return length
  }
  if (want.kind === 'hashes') {
    for await (const chunk of reader.hashes(want.index)) await writer.takeHashes(want.index, chunk, false)
    await writer.takeHashes(want.index, Buffer.alloc(0), true)
    return 0
  }
  let bytes = 0
  for await (const piece of reader.blocks(want.run)) {
    bytes += piece.data.length
    await writer.takePiece(want.run, piece)
  }
  await writer.endBlocks(want.run, false)
  return bytes
}

/**
 * Captures, sends and applies: a planned move's copy.
 * The sender holds the volume for the capture, and has no checkpoint afterwards: its tree may be edited like that of
 * a new volume.
 */
export async function move(
  from: TreeStore,
  to: TreeStore,
  volume: { id: string; name: string; options: typeof VOLUME_OPTIONS },
  seq = 1,
): Promise<Sent & { filesRead: number }> {
  await from.update(volume.id, { held: { epoch: 1, incarnation: 'i1' } })
  const capture = await from.capture(volume.id, 'quiet', calm)
  await from.update(volume.id, { checkpoint: null, held: null })
  const sent = await send(from, to, volume)
  await to.apply(volume.id, captureCheckpoint(capture, seq))
  return { ...sent, hash: capture.hash, filesRead: capture.filesRead }
}
