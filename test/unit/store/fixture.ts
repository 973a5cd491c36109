import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { pino } from 'pino'
import { ulid } from 'ulid'
import type { Checkpoint } from '../../../agent/model.ts'
import type { TreeStore } from '../../../agent/store/contract.ts'
import { openStore } from '../../../agent/store/store.ts'
import type { FaultPoint } from '../../../agent/store/tree.ts'

export const log = pino({ level: 'silent' })
export const OPTIONS = { uid: 0, gid: 0, mode: 0o755 }

/** A directory on a real file system that goes away with the test. */
export async function directory(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'wherry-store-'))
  t.teardown(() => removeTree(path))
  return path
}

/** Node's own rm cannot remove names that are not UTF-8, nor what is immutable. */
export function removeTree(path: string): void {
  // It complains of what can have no flags (pipes, symlinks) and of paths that are too long: rm tells what counts.
  spawnSync('chattr', ['-R', '-f', '-i', '-a', path], { stdio: 'ignore' })
  execFileSync('rm', ['-rf', path])
}

export interface Host {
  readonly store: TreeStore & AsyncDisposable
  readonly stateDir: string
  /** The tree of a volume. */
  readonly data: (id: string) => string
}

export async function host(t: ExecutionContext, stateDir?: string, faultPoint: FaultPoint = () => {}): Promise<Host> {
  const state = stateDir ?? (await directory(t))
  const options = { stateDir: state, mountRoot: join(state, 'mnt'), trashRetentionMs: 1000, log, faultPoint }
  const store = await openStore(options)
  t.teardown(() => store[Symbol.asyncDispose]())
  return { store, stateDir: state, data: (id) => join(state, 'volumes', id, 'data') }
}

export function volume(): { id: string; name: string; options: typeof OPTIONS } {
  return { id: ulid(), name: 'data', options: OPTIONS }
}

export function checkpoint(capture: { hash: string; bytes: number; files: number }, seq = 1): Checkpoint {
  const { hash, bytes, files } = capture
  return { epoch: 1, seq, hash, bytes, files, at: '2026-01-01T00:00:00.000Z' }
}

export const calm = new AbortController().signal

/** Carries what the receiver lacks from one store's tree to another's stage; `limitBytes` cuts it off on the way. */
export async function send(
  from: TreeStore,
  to: TreeStore,
  volume: { id: string; name: string; options: typeof OPTIONS },
  kind: 'last' | 'live' = 'last',
  limitBytes = Number.POSITIVE_INFINITY,
): Promise<{ sentBytes: number; sentFiles: number; complete: boolean; hash: string }> {
  await using reader = await from.reader(volume.id, kind)
  await using writer = await to.writer(volume)
  let [sentBytes, sentFiles, complete] = [0, 0, true]
  for (const { index, offset } of await writer.begin(reader.manifest())) {
    for await (const chunk of reader.read(index, offset)) {
      await writer.write(index, chunk.offset, chunk.data)
      sentBytes += chunk.data.length
      if (sentBytes >= limitBytes) return { sentBytes, sentFiles, complete: false, hash: reader.hash }
    }
    if (await writer.endFile(index)) sentFiles += 1
    else complete = false
  }
  return { sentBytes, sentFiles, complete, hash: reader.hash }
}

/** Captures, sends and applies: a planned move's copy. */
export async function move(
  from: TreeStore,
  to: TreeStore,
  volume: { id: string; name: string; options: typeof OPTIONS },
  seq = 1,
): Promise<{ sentBytes: number; sentFiles: number; hash: string; filesRead: number }> {
  const capture = await from.capture(volume.id, 'quiet', calm)
  const sent = await send(from, to, volume)
  await to.apply(volume.id, checkpoint(capture, seq))
  return { ...sent, hash: capture.hash, filesRead: capture.filesRead }
}
