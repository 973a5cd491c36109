import { availableParallelism } from 'node:os'
import type { Alone, Rate } from './alone.ts'
import type { PeerName } from './cases.ts'
import { boundOf, cpuSecondsOfResult, middle, PEERS, type Result, ratioOf, resultBytes, secondsOf } from './result.ts'
import type { Round } from './round.ts'

const GB = 1e9
const MB = 1e6
/** Below this the cores are waiting for something rather than working. */
const BUSY_SHARE = 0.8

/** The whole report; the last line is one JSON object. */
export function reportOf(results: readonly Result[], alone: Alone): string {
  const tables = [timesTable(results), aloneTable(alone), limitTable(results, alone), useTable(results)]
  return `${tables.join('\n\n')}\n\n${JSON.stringify(figuresOf(results, alone))}\n`
}

function timesTable(results: readonly Result[]): string {
  const head = [
    'case',
    'Wherry s',
    ...PEERS.flatMap((peer) => [`${peer} s`, 'ratio', 'floor', '']),
    'rsync flags added',
  ]
  const rows = results.map((result) => [
    result.case.name,
    number(secondsOf(result, 'wherry')),
    ...PEERS.flatMap((peer) => comparison(result, peer)),
    result.case.rsyncFlags.join(' ') || '-',
  ])
  return `Times, medians (ratio: peer / Wherry, above 1 Wherry is faster)\n${table(head, rows)}`
}

function comparison(result: Result, peer: PeerName): string[] {
  const ratio = ratioOf(result, peer)
  const floor = result.case.floors[peer]
  return [number(secondsOf(result, peer)), ratio.toFixed(2), floor.toFixed(1), ratio >= floor ? 'ok' : 'missed']
}

function aloneTable(alone: Alone): string {
  const bytes = (what: string, rate: Rate) => [
    what,
    (rate.perSecond / MB).toFixed(0),
    '',
    (rate.cpuSecondsEach * GB).toFixed(2),
    '',
  ]
  const files = (what: string, rate: Rate) => [
    what,
    '',
    rate.perSecond.toFixed(0),
    '',
    (rate.cpuSecondsEach * 100_000).toFixed(2),
  ]
  const rows = [
    bytes('read from the page cache', alone.read),
    bytes('SHA-256, blocks of 64 KiB', alone.hash),
    bytes('TLS 1.3 over loopback, both ends', alone.tls),
    bytes('write and fsync', alone.write),
    files('lstat', alone.walkFiles),
    files('read files of 5 KiB', alone.readFiles),
    files('SHA-256 of 5 KiB', alone.hashFiles),
    files('create files of 5 KiB and sync', alone.createFiles),
  ]
  const head = ['alone', 'MB/s', 'files/s', 'CPU s/GB', 'CPU s/100,000 files']
  return `Cost of the parts alone on this machine, one thread (TLS: two)\n${table(head, rows)}`
}

function limitTable(results: readonly Result[], alone: Alone): string {
  const cores = availableParallelism()
  const rows = results.map((result) => {
    const bound = boundOf(result, alone)
    const seconds = secondsOf(result, 'wherry')
    const cpuSeconds = cpuSecondsOfResult(result)
    const phase = (pick: (round: Round) => number) => number(middle(result, pick))
    const busy = cpuSeconds / (seconds * cores)
    return [
      result.case.name,
      number(seconds),
      number(bound.seconds),
      (seconds / bound.seconds).toFixed(1),
      phase(({ wherry }) => wherry.captureSeconds),
      phase(({ wherry }) => wherry.pullSeconds),
      phase(({ wherry }) => wherry.applySeconds),
      `${(busy * 100).toFixed(0)} %`,
      holdingBack(busy, cpuSeconds / bound.cpuSeconds),
    ]
  })
  const head = ['case', 'Wherry s', 'bound s', 'times', 'capture s', 'pull s', 'apply s', 'cores busy', 'held back by']
  const bound = `the parts' CPU time over ${cores} cores`
  const about = `bound: ${bound}, or the disk's time for what is written if that is longer`
  return `Distance from this machine's limit (${about})\n${table(head, rows)}`
}

function holdingBack(busy: number, work: number): string {
  const times = `${work.toFixed(1)} times the CPU time of the parts`
  return busy >= BUSY_SHARE ? times : `waiting (disk, or one end for the other); ${times}`
}

function useTable(results: readonly Result[]): string {
  const rows = results.map((result) => {
    const bytes = resultBytes(result)
    const worst = (pick: (round: Round) => number) => Math.max(...result.rounds.map(pick))
    return [
      result.case.name,
      (worst(({ wherry }) => wherry.source.peakBytes) / MB).toFixed(0),
      (worst(({ wherry }) => wherry.receiver.peakBytes) / MB).toFixed(0),
      number(middle(result, ({ wherry }) => wherry.source.cpuSeconds)),
      number(middle(result, ({ wherry }) => wherry.receiver.cpuSeconds)),
      bytes === 0 ? '-' : number((cpuSecondsOfResult(result) / bytes) * GB),
      ...(['wherry', ...PEERS] as const).map((peer) =>
        number(middle(result, (round) => round[peer].machineCpuSeconds)),
      ),
      ...(['source', 'receiver'] as const).map((end) => {
        const max = worst(({ wherry }) => wherry[end].delayMaxMs)
        return `${max.toFixed(0)} / ${worst(({ wherry }) => wherry[end].delayP99Ms).toFixed(0)}`
      }),
    ]
  })
  const head = [
    ...['case', 'peak MB source', 'receiver', 'CPU s source', 'receiver', 'CPU s/GB'],
    ...['machine CPU s: Wherry', ...PEERS, 'loop delay ms max/p99 source', 'receiver'],
  ]
  const about = 'CPU s/GB: both ends, per GB that had to be read; machine CPU: kernel threads and bystanders count'
  return `What Wherry uses (peak: resident memory of one end's process, worst round; ${about})\n${table(head, rows)}`
}

function figuresOf(results: readonly Result[], alone: Alone): object {
  const figures = results.map((result) => {
    const ratios = PEERS.map((peer) => [`vs_${peer}`, rounded(ratioOf(result, peer))])
    const seconds = (['wherry', ...PEERS] as const).map((peer) => [`${peer}_s`, rounded(secondsOf(result, peer))])
    const bound = ['bound_s', rounded(boundOf(result, alone).seconds)]
    const floors = PEERS.every((peer) => ratioOf(result, peer) >= result.case.floors[peer])
    return [result.case.name, Object.fromEntries([...ratios, ...seconds, bound, ['floors_met', floors]])]
  })
  return Object.fromEntries(figures)
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(...[head, ...rows].map((row) => row[column]?.length ?? 0), title.length),
  )
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) =>
        /^[\d.]/.test(cell) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd()
  return [line(head), widths.map((width) => '-'.repeat(width)).join('  '), ...rows.map(line)].join('\n')
}

/** Three figures say all that a measurement here can. */
export function number(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)
}

export function rounded(value: number): number {
  return Number(value.toFixed(3))
}
