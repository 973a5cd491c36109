import { availableParallelism } from 'node:os'
import { type Alone, type Rate, SMALL_FILE_BYTES } from './alone.ts'
import type { Case, PeerName } from './cases.ts'
import type { Round } from './round.ts'

export const PEERS: readonly PeerName[] = ['daemon', 'ssh']

/** All rounds of one case. */
export interface Result {
  readonly case: Case
  readonly rounds: readonly Round[]
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

/**
 * The value that a share of all values is not above: 0.99 for the 99th percentile, 1 for the largest. NaN when there
 * is none.
 */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN
}

/** The median over all rounds of what `pick` takes from one. */
export function middle(result: Result, pick: (round: Round) => number): number {
  return median(result.rounds.map(pick))
}

export function secondsOf(result: Result, peer: PeerName | 'wherry'): number {
  return middle(result, (round) => round[peer].seconds)
}

/** How many times as long as Wherry the peer takes. */
export function ratioOf(result: Result, peer: PeerName): number {
  return secondsOf(result, peer) / secondsOf(result, 'wherry')
}

/** CPU time of both of Wherry's ends. */
export function cpuSecondsOfResult(result: Result): number {
  return middle(result, ({ wherry }) => wherry.source.cpuSeconds + wherry.receiver.cpuSeconds)
}

/** Content that had to be read; that of holes is known without. */
export function resultBytes(result: Result): number {
  const { kind } = result.case
  return middle(result, ({ wherry: { capture, pulledBytes } }) =>
    kind === 'full' ? Math.min(capture.bytesRead, pulledBytes) : capture.bytesRead,
  )
}

/**
 * What this machine's limit for the case is, if the plainest loops were all the work and it were spread over all
 * cores.
 */
export interface Bound {
  /** CPU time of walking, reading and hashing at the source, TLS at both ends, hashing and writing at the receiver. */
  readonly cpuSeconds: number
  /** The longer of that time over the cores and of the disk's time for what is written. */
  readonly seconds: number
}

export function boundOf(result: Result, alone: Alone): Bound {
  const { capture, pulledBytes } = countsOf(result)
  const moved = pulledBytes > 0 ? capture.filesRead : 0
  const walked = capture.files * (result.case.kind === 'full' ? 1 : 2)
  // What a small file costs beyond its bytes.
  const perFile = (files: Rate, bytes: Rate) =>
    Math.max(0, files.cpuSecondsEach - SMALL_FILE_BYTES * bytes.cpuSecondsEach)
  const { read, hash, tls, write, walkFiles, readFiles, hashFiles, createFiles } = alone
  const cpuSeconds =
    walked * walkFiles.cpuSecondsEach +
    capture.bytesRead * (read.cpuSecondsEach + hash.cpuSecondsEach) +
    capture.filesRead * (perFile(readFiles, read) + perFile(hashFiles, hash)) +
    pulledBytes * (tls.cpuSecondsEach + hash.cpuSecondsEach + write.cpuSecondsEach) +
    moved * (perFile(createFiles, write) + perFile(hashFiles, hash))
  return { cpuSeconds, seconds: Math.max(cpuSeconds / availableParallelism(), pulledBytes / write.perSecond) }
}

/** What there was to do, in the median: a change of each round is its own. */
function countsOf(result: Result) {
  const capture = {
    files: middle(result, ({ wherry }) => wherry.capture.files),
    filesRead: middle(result, ({ wherry }) => wherry.capture.filesRead),
    bytesRead: resultBytes(result),
  }
  return { capture, pulledBytes: middle(result, ({ wherry }) => wherry.pulledBytes) }
}
