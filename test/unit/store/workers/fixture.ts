import { execFileSync } from 'node:child_process'
import { hash } from 'node:crypto'
import { closeSync, constants, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { openBlockPool } from '../../../../agent/store/workers/block-pool.ts'
import type { BlockPool } from '../../../../agent/store/workers/contract.ts'
import { O_PATH } from '../../../../agent/sys/open.ts'

export const KIB = 1024
/** Of files from five of them on: what is shorter is one block. */
export const BLOCK = 16 * KIB

export function sha256Of(data: Uint8Array): Buffer {
  return hash('sha256', data, 'buffer')
}

/** The hashes of a file's blocks as the contract says, by other means than the pool's. */
export function blockHashes(content: Buffer, blockBytes = BLOCK): Buffer {
  const hashes: Buffer[] = []
  for (let at = 0; at < content.length; at += blockBytes) hashes.push(sha256Of(content.subarray(at, at + blockBytes)))
  return Buffer.concat(hashes)
}

export function poolDirectory(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'wherry-pool-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

export function pool(t: ExecutionContext, threads = 1, entry?: URL): BlockPool {
  const opened = openBlockPool({ threads }, entry)
  t.teardown(() => opened[Symbol.asyncDispose]())
  return opened
}

export function held(t: ExecutionContext, path: string, flags: string | number = 'r'): number {
  const fd = openSync(path, flags)
  t.teardown(() => closeSync(fd))
  return fd
}

export function heldDirectory(t: ExecutionContext, path: string): number {
  return held(t, path, O_PATH | constants.O_DIRECTORY)
}

/** A file system of its own of that many KiB, for filling up. Answers its mountpoint. */
export function smallDisk(t: ExecutionContext, sizeKib: number): string {
  const path = mkdtempSync(join(tmpdir(), 'wherry-disk-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeKib}k`, 'wherry-test', path])
  t.teardown(() => {
    execFileSync('umount', ['--lazy', path])
    rmSync(path, { recursive: true, force: true })
  })
  return path
}
