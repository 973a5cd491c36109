import { readFileSync } from 'node:fs'
import type { Case } from './cases.ts'
import { compare } from './compare.ts'
import type { BenchGround } from './ground.ts'
import type { RsyncPeer } from './rsync.ts'
import { warm } from './warm.ts'
import type { Copied, WherryPeer } from './wherry.ts'

/** Clock ticks per second of /proc/stat: USER_HZ is 100 on all Linux. */
const TICKS_PER_SECOND = 100

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
  readonly ground: BenchGround
  readonly scale: number
  readonly wherry: WherryPeer
  readonly rsyncs: readonly RsyncPeer[]
}

/**
 * One round: each peer in turn brings its own receiver from its start state to the source's state. Round 0 is the
 * first copy of the cases that need one.
 */
export async function playRound(turn: Turn, round: number): Promise<Round> {
  const { wherry, rsyncs } = turn
  const full = turn.case.kind === 'full' || round === 0
  if (turn.case.kind === 'full') await wherry.renew()
  if (round > 0 && turn.case.change !== undefined) {
    if (!full) await wherry.use()
    await turn.case.change({ directory: wherry.source, host: turn.ground.h1, scale: turn.scale }, round)
  }
  const trees = (receiver: string) => (full ? [wherry.source] : [wherry.source, receiver])

  await warm(turn.case, turn.scale, trees(wherry.tree()))
  const mine = await turn.ground.ballast.during(() => measure(() => wherry.sync()))
  await compare(turn.case, turn.scale, wherry.source, wherry.tree())
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

export async function measure<T>(work: () => Promise<T>): Promise<Measured & { value: T }> {
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
