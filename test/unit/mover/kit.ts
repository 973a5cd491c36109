import { execFileSync } from 'node:child_process'
import { createHash, randomFillSync } from 'node:crypto'
import { closeSync, createReadStream, openSync, writeSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'
import { ulid } from 'ulid'
import type { Checkpoint } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { type Mover, type MoverOptions, openMover } from '../../../agent/mover/mover.ts'
import type { Capture } from '../../../agent/store/contract.ts'
import type { QueryHandler } from '../../../agent/transfer/contract.ts'

export const ADDRESS = '127.0.0.1'
export const KIBIBYTE = 1024
export const MEBIBYTE = 1024 * KIBIBYTE
const CERTS = fileURLToPath(new URL('../../../scripts/certs', import.meta.url))

/** For hosts that are asked for trees only. */
export const NO_REPLIES: QueryHandler = async ({ kind }) => {
  throw new Error(`nobody asks for ${kind} here`)
}

export const noAbort = () => new AbortController().signal

/** A directory that goes away with the test. */
export async function directory(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'wherry-mover-'))
  t.teardown(() => execFileSync('rm', ['-rf', path]))
  return path
}

/** Certificates for the loopback address, made as users make them. */
export async function moverCertificates(t: ExecutionContext): Promise<string> {
  const dir = await directory(t)
  execFileSync(CERTS, [dir, ADDRESS], { stdio: 'ignore' })
  return join(dir, ADDRESS)
}

export async function options(t: ExecutionContext, tlsDir: string | null = null): Promise<MoverOptions> {
  const stateDir = await directory(t)
  return {
    stateDir,
    mountRoot: join(stateDir, 'mnt'),
    trashRetentionMs: 1_000,
    tls: tlsDir === null ? null : { dir: tlsDir, address: ADDRESS },
    logLevel: 'silent',
  }
}

export interface MoverHost {
  readonly mover: Mover
  readonly options: MoverOptions
  /** A file in the volume's tree. */
  readonly file: (id: string, name: string) => string
}

export async function host(t: ExecutionContext, tlsDir: string): Promise<MoverHost> {
  const given = await options(t, tlsDir)
  const mover = await openMover(given)
  t.teardown(() => mover[Symbol.asyncDispose]())
  await mover.store.recover()
  return { mover, options: given, file: (id, name) => join(given.stateDir, 'volumes', id, 'data', name) }
}

export function volume() {
  return { id: ulid(), name: 'data', options: DEFAULT_OPTIONS }
}

export function checkpoint({ hash, bytes, files }: Capture): Checkpoint {
  return { epoch: 1, seq: 1, hash, bytes, files, at: '2026-01-01T00:00:00.000Z' }
}

/** Random bytes: neither hashes nor networks can take a short cut. */
export function writeNoise(path: string, mebibytes: number): void {
  const block = Buffer.alloc(MEBIBYTE)
  const fd = openSync(path, 'w')
  for (let n = 0; n < mebibytes; n++) writeSync(fd, randomFillSync(block))
  closeSync(fd)
}

export async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}
