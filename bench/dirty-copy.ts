import { statfsSync, writeFileSync } from 'node:fs'
import { run } from '../lab/command.ts'
import { BtrfsPeer } from './btrfs.ts'
import { compare } from './compare.ts'
import { fill } from './content.ts'
import { DirtyPages } from './dirty-pages.ts'
import { benchPlace, readBytesOf } from './disk.ts'
import { BenchGround } from './ground.ts'
import { type Brought, HeldPeer } from './held-peer.ts'
import type { LabSettings } from './lab-report.ts'
import { type Measured, measure } from './round.ts'
import { type RsyncPeer, startDaemonPeer } from './rsync.ts'
import { dropFromCache, readTree } from './warm.ts'

const GIB = 1024 ** 3
const FILES = Array.from({ length: 10 }, (_, index) => `f${index}`)
const FILE_BYTES = GIB
const PAGES = 1_000
const MIN_PAGES = 20
/**
 * Wherry's volume, its copy and rsync's; while the first checkpoint is copied the spool has part of the volume as
 * well.
 */
const DISK_BYTES = 36 * GIB
/** The volume, what a few rounds write anew, and metadata, which is there twice. */
const BTRFS_BYTES = 12 * GIB
/** Below that btrfs makes chunks of metadata too small for its own needs. */
const MIN_BTRFS_BYTES = GIB
/** One for the tracker to get to know the files, one to be sure that it does. */
const WARM_UPS = 2
const TIMEOUT_MS = 30 * 60_000
/** To rsync, as with the copy cases. */
const DIRTY = { name: 'dirty', rsyncFlags: ['--inplace'] } as const

/** One way of bringing one round's change to the other host. */
export interface Bringing extends Measured {
  readonly sentBytes: number
  readonly receivedBytes: number
  /** From the disks; what was in the page cache is not in it. */
  readonly diskReadBytes: number
}

export interface DirtyRound {
  readonly wherry: Bringing & Brought
  readonly inplace: Bringing
  readonly btrfs: Bringing
}

interface Turn {
  readonly ground: BenchGround
  readonly wherry: HeldPeer
  readonly rsync: RsyncPeer
  readonly btrfs: BtrfsPeer
  readonly pages: DirtyPages
  readonly pageCount: number
}

/**
 * Random pages written in large files of a volume in use: what it takes until another host has them, by Wherry,
 * `rsync --inplace` and `btrfs send` in turn.
 */
export async function measureDirtyCopies({ rounds, scale, say }: LabSettings): Promise<DirtyRound[]> {
  requireRoom(scale)
  await using ground = await BenchGround.start(scale, say, DISK_BYTES)
  await using wherry = await HeldPeer.start(DIRTY.name, ground)
  const rsync = await startDaemonPeer(ground)
  const btrfs = await BtrfsPeer.start(ground, btrfsBytes(scale))
  say('filling the volumes')
  const fileBytes = FILE_BYTES * scale
  for (const tree of [wherry.source, btrfs.source]) for (const file of FILES) fill(`${tree}/${file}`, fileBytes)
  const pages = new DirtyPages(FILES, fileBytes)
  const turn = { ground, wherry, rsync, btrfs, pages, pageCount: Math.max(MIN_PAGES, Math.round(PAGES * scale)) }
  await warmUp(turn, say)
  const played: DirtyRound[] = []
  for (let round = 1; round <= rounds; round++) {
    const result = await playRound(turn)
    played.push(result)
    const times = (['wherry', 'inplace', 'btrfs'] as const).map(
      (peer) => `${peer} ${result[peer].seconds.toFixed(2)} s`,
    )
    say(`  round ${round}: ${times.join(', ')}`)
  }
  say('comparing the copies')
  for (const [source, receiver] of [
    [wherry.source, wherry.receiver],
    [wherry.source, rsync.tree(DIRTY)],
    [btrfs.source, btrfs.receiver],
  ] as const)
    await compare(DIRTY, scale, source, receiver)
  return played
}

/** The first copies of all, then checkpoints of a few pages. Rejects with nothing measured yet. */
async function warmUp(turn: Turn, say: (line: string) => void): Promise<void> {
  const { wherry, rsync, btrfs } = turn
  say('the first copies')
  await wherry.checkpoint()
  for (let nth = 0; nth < WARM_UPS; nth++) {
    writePages(turn)
    await wherry.checkpoint()
  }
  await rsync.empty(DIRTY)
  await rsync.sync(DIRTY, wherry.source)
  await btrfs.sync()
  await settle(turn)
  // From here on the page cache has only what somebody reads or writes.
  writeFileSync('/proc/sys/vm/drop_caches', '3\n')
}

async function playRound(turn: Turn): Promise<DirtyRound> {
  const { wherry, rsync, btrfs } = turn
  // rsync has read the files from end to end, which leaves them in folios of megabytes. A database leaves small ones.
  for (const tree of [wherry.source, btrfs.source]) for (const file of FILES) await dropFromCache(`${tree}/${file}`)
  writePages(turn)
  await settle(turn)
  const mine = await bring(turn, () => wherry.checkpoint())
  for (const tree of [wherry.source, rsync.tree(DIRTY)]) await readTree(tree)
  await settle(turn)
  const inplace = await bring(turn, () => rsync.sync(DIRTY, wherry.source))
  await settle(turn)
  return { wherry: { ...mine, ...mine.value }, inplace, btrfs: await bring(turn, () => btrfs.sync()) }
}

function writePages({ wherry, btrfs, pages, pageCount }: Turn): void {
  pages.write([wherry.source, btrfs.source], pageCount)
}

/** Nothing waits to be written. */
async function settle({ ground, btrfs }: Turn): Promise<void> {
  await run('sync', ['-f', ground.disk.place], { timeoutMs: TIMEOUT_MS })
  await btrfs.settle()
}

async function bring<T>({ ground, btrfs }: Turn, work: () => Promise<T>): Promise<Bringing & { value: T }> {
  const diskReadBytes = () => readBytesOf(ground.disk) + btrfs.diskReadBytes
  const [before, readBefore] = [await ground.h1.traffic(), diskReadBytes()]
  const measured = await measure(work)
  const after = await ground.h1.traffic()
  return {
    ...measured,
    sentBytes: after.sentBytes - before.sentBytes,
    receivedBytes: after.receivedBytes - before.receivedBytes,
    diskReadBytes: diskReadBytes() - readBefore,
  }
}

function requireRoom(scale: number): void {
  const place = benchPlace()
  const { bavail, bsize } = statfsSync(place)
  const needed = DISK_BYTES * scale + 2 * btrfsBytes(scale)
  const free = bavail * bsize
  if (free < needed) throw new Error(`dirty needs ${gigabytes(needed)} GB in ${place}, and ${gigabytes(free)} are free`)
}

function btrfsBytes(scale: number): number {
  return Math.max(MIN_BTRFS_BYTES, BTRFS_BYTES * scale)
}

function gigabytes(bytes: number): string {
  return (bytes / 1e9).toFixed(0)
}
