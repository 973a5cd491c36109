import { mkdir } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { BufferPool } from '../runtime/buffer-pool.ts'
import { type FaultPoint, noFault } from '../runtime/fault-point.ts'
import { lockFile } from '../sys/files.ts'
import { openTracking, type TrackingOptions } from './changes/open-tracking.ts'
import type { TreeStore } from './contract.ts'
import { BindMounts, openMountRoot } from './disk/bind-mounts.ts'
import { CopyRecords } from './disk/copy-records.ts'
import { trashDirectory, volumesDirectory } from './disk/layout.ts'
import { DiskStore } from './disk-store.ts'
import { locked } from './errors.ts'
import { Scratch } from './scan/scratch.ts'
import { openBlockPool } from './workers/block-pool.ts'
import { tagKey } from './workers/tag-key.ts'

/** With more cores the disk is the bottleneck, not the hashing. */
const POOL_THREADS_MAX = 4
/** One thread computes while the other waits for the disk. */
const POOL_THREADS_MIN = 2

/** Bytes of large files that are read although they could be cloned: some 20 ms, without waiting for the disk. */
const AT_ONCE_BYTES = 16 * 1024 * 1024

export interface StoreOptions extends TrackingOptions {
  readonly mountRoot: string
  readonly trashRetentionMs: number
  /** Shared with the transfer. */
  readonly memory?: BufferPool
  /** Another limit than AT_ONCE_BYTES, for tests. */
  readonly atOnceBytes?: number
  /** Called at each step of a capture, a writer and an apply, for tests that stop there. */
  readonly faultPoint?: FaultPoint
}

/**
 * Opens the state directory for this process alone, and makes it when missing.
 * Call `recover` before anything else.
 * STATE_LOCKED: another process has it. Disposing releases the lock; mounts stay.
 */
export async function openStore(options: StoreOptions): Promise<TreeStore & AsyncDisposable> {
  await mkdir(volumesDirectory(options.stateDir), { recursive: true, mode: 0o700 })
  await mkdir(trashDirectory(options.stateDir), { recursive: true, mode: 0o700 })
  const lock = lockFile(join(options.stateDir, 'lock'))
  if (lock === null) throw locked(options.stateDir)
  const threads = Math.min(POOL_THREADS_MAX, Math.max(POOL_THREADS_MIN, availableParallelism()))
  const memory = options.memory ?? new BufferPool()
  const key = await tagKey(options.stateDir)
  const scratch = new Scratch(key)
  await scratch.removeLeftOver()
  const pool = openBlockPool({ threads, log: options.log, memory, tagKey: key })
  const records = new CopyRecords(options.stateDir)
  const tracking = openTracking(options)
  const shared = {
    records,
    pool,
    memory,
    faultPoint: options.faultPoint ?? noFault,
    tracking,
    scratch,
    atOnceBytes: options.atOnceBytes ?? AT_ONCE_BYTES,
  }
  return new DiskStore(options, shared, new BindMounts(await openMountRoot(options.mountRoot)), lock)
}
