import { readFileSync } from 'node:fs'
import { run } from '../lab/harness/command.ts'
import type { Case } from './cases.ts'
import type { Ground } from './ground.ts'
import type { RsyncPeer } from './rsync.ts'
import { RSYNC_FLAGS } from './rsync.ts'
import { warm } from './warm.ts'
import type { Copied, WherryPeer } from './wherry.ts'

/** Reading both trees in full, at most. */
const COMPARE_TIMEOUT_MS = 20 * 60_000
/** Clock ticks per second of /proc/stat: USER_HZ is 100 on all Linux. */
const TICKS_PER_SECOND = 100
/** A receiver may take this much more disk than the source: extent trees and directories differ. */
const ALLOCATION_SLACK = 1.1

export interface Measured {
  readonly seconds: number
  /** All the machine's busy time meanwhile: kernel threads count, and so does whoever else is on it. */
  readonly machineCpuSeconds: number
}

export interface Round {
  readonly wherry: Measured & Copied
  readonly daemon: Measured
  readonly ssh: Measured
}

interface Turn {
  readonly case: Case
  readonly ground: Ground
  readonly scale: number
  readonly wherry: WherryPeer
  readonly rsyncs: readonly RsyncPeer[]
}

/** One round: each peer in turn brings its own receiver from its start state to the source's state. Round 0 is the first copy of the cases that need one. */
export async function playRound(turn: Turn, round: number): Promise<Round> {
  const { wherry, rsyncs } = turn
  const full = turn.case.kind === 'full' || round === 0
  if (turn.case.kind === 'full') await wherry.renew()
  if (round > 0) await turn.case.change?.({ directory: wherry.source, host: turn.ground.h1, scale: turn.scale }, round)
  const trees = (receiver: string) => (full ? [wherry.source] : [wherry.source, receiver])

  await warm(turn.case, turn.scale, trees(wherry.tree()))
  const mine = await turn.ground.ballast.during(() => measure(() => wherry.sync()))
  await compare(turn.case, wherry.source, wherry.tree(), round)
  const theirs: Partial<Record<string, Measured>> = {}
  for (const peer of rsyncs) {
    if (full) await peer.empty(turn.case)
    await warm(turn.case, turn.scale, trees(peer.tree(turn.case)))
    theirs[peer.name] = await turn.ground.ballast.during(() => measure(() => peer.sync(turn.case, wherry.source)))
    // Its disk space, and the time to give it back, must not be another peer's burden.
    if (turn.case.kind === 'full') await peer.empty(turn.case)
  }
  const { daemon, ssh } = theirs
  if (daemon === undefined || ssh === undefined) throw new Error('both ways of rsync were measured')
  return { wherry: { ...mine, ...mine.value }, daemon, ssh }
}

async function measure<T>(work: () => Promise<T>): Promise<Measured & { value: T }> {
  const cpuBefore = machineCpuSeconds()
  const startedMs = performance.now()
  const value = await work()
  const seconds = (performance.now() - startedMs) / 1000
  return { seconds, machineCpuSeconds: machineCpuSeconds() - cpuBefore, value }
}

/** user, nice, system, irq and softirq of proc(5)'s first line. */
function machineCpuSeconds(): number {
  const fields = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0]?.trim().split(/\s+/).map(Number) ?? []
  const [, user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = fields
  return (user + nice + system + irq + softirq) / TICKS_PER_SECOND
}

/** Rejects when the receiver's tree is not the source's, to the nanosecond, and for sparse files to the hole. */
async function compare(which: Case, source: string, receiver: string, round: number): Promise<void> {
  const deep = which.compareOnce !== true || round <= 1 ? ['--checksum'] : []
  const flags = [...RSYNC_FLAGS, ...deep, '--dry-run', '--modify-window=-1', '--itemize-changes']
  const { stdout } = await run('rsync', [...flags, `${source}/`, `${receiver}/`], { timeoutMs: COMPARE_TIMEOUT_MS })
  if (stdout !== '')
    throw new Error(`${which.name}: Wherry's receiver differs from the source:\n${stdout.slice(0, 2_000)}`)
  const [mine, theirs] = await Promise.all([allocatedKilobytes(source), allocatedKilobytes(receiver)])
  if (theirs > mine * ALLOCATION_SLACK) {
    throw new Error(`${which.name}: Wherry's receiver takes ${theirs} KiB of disk, the source ${mine} KiB`)
  }
}

async function allocatedKilobytes(tree: string): Promise<number> {
  return Number.parseInt((await run('du', ['-sk', tree])).stdout, 10)
}
