import { type CheckpointTurns, checkpointFigures, checkpointTables, type Load } from './checkpoint-report.ts'
import type { Bringing, DirtyRound } from './dirty-copy.ts'
import type { LabReport } from './lab-report.ts'
import { number, rounded, table } from './report.ts'
import { median } from './result.ts'
import { floorsMet, type Target, targetsTable } from './target.ts'

const MB = 1e6

type Peer = keyof DirtyRound

const PEERS: Readonly<Record<Peer, string>> = {
  wherry: 'Wherry, a checkpoint of a held volume',
  inplace: 'rsync --inplace, sync -f',
  btrfs: 'btrfs snapshot, send -p, receive, sync -f',
}

const ABOUT = `Random pages in ten large files, until the other host has them durably; medians of rounds in turn.
Before each round the source is dropped from the page cache, its pages are written and synced: they are
cached in small folios, as a database leaves them. Nothing is read back for Wherry and btrfs; before
rsync's turn all of its source and its copy are read, as far as they fit into memory. rsync: a daemon
without encryption. btrfs send: one TCP connection without encryption, into a small relay that pipes to
btrfs receive. Bytes: at the source's network interface.`

export function dirtyReport(rounds: readonly DirtyRound[], load: Load, turns: CheckpointTurns): LabReport {
  const copies = copyFigures(rounds)
  const pgbench = checkpointFigures(turns)
  const targets = targetsOf(copies, pgbench)
  const text = [
    `${ABOUT}\n${peersTable(rounds)}`,
    wherryTable(rounds),
    trackerLine(rounds),
    checkpointTables(load, turns),
    targetsTable(targets),
  ].join('\n\n')
  return { text, figures: { ...copies, ...pgbench, floors_met: floorsMet(targets) } }
}

function targetsOf(copies: ReturnType<typeof copyFigures>, pgbench: ReturnType<typeof checkpointFigures>): Target[] {
  const more = (what: string, value: number, floor: number | null, goal: number | null): Target => ({
    ...{ what, value, floor, goal },
    better: 'more',
  })
  const less = (what: string, value: number, floor: number | null, goal: number | null): Target => ({
    ...{ what, value, floor, goal },
    better: 'less',
  })
  return [
    more('times as fast as rsync --inplace', copies.vs_inplace, 20, 100),
    more('times as fast as btrfs send', copies.vs_btrfs_send, null, null),
    more('pgbench, throughput beside that without checkpoints', pgbench.pgbench_ratio, 0.95, 0.98),
    less('pause, median ms', pgbench.pause_median_ms, null, 40),
    less('pause, max ms', pgbench.pause_max_ms, 200, null),
    less('age of the newest checkpoint, 99th percentile s', pgbench.age_p99_s, null, 3),
  ]
}

function middle(rounds: readonly DirtyRound[], pick: (round: DirtyRound) => number): number {
  return median(rounds.map(pick))
}

function peersTable(rounds: readonly DirtyRound[]): string {
  const head = ['', 's', 'ratio', 'MB sent', 'MB received', 'MB read from disks', 'machine CPU s']
  const rows = (Object.keys(PEERS) as Peer[]).map((peer) => {
    const of = (pick: (bringing: Bringing) => number) => middle(rounds, (round) => pick(round[peer]))
    return [
      PEERS[peer],
      number(of(({ seconds }) => seconds)),
      (of(({ seconds }) => seconds) / middle(rounds, ({ wherry }) => wherry.seconds)).toFixed(2),
      number(of(({ sentBytes }) => sentBytes) / MB),
      number(of(({ receivedBytes }) => receivedBytes) / MB),
      number(of(({ diskReadBytes }) => diskReadBytes) / MB),
      number(of(({ machineCpuSeconds }) => machineCpuSeconds)),
    ]
  })
  return table(head, rows)
}

function wherryTable(rounds: readonly DirtyRound[]): string {
  const head = [
    ...['round', 'rounds before the last', 's', 'MB read', 'MB spooled', 'last round ms', 'MB read', 'commit s'],
    ...['pull s', 'MB pulled', 'apply s', 'all s'],
  ]
  const rows = rounds.map(({ wherry }, index) => [
    String(index + 1),
    String(wherry.rounds.length),
    number(wherry.roundsSeconds),
    number(readBytes(wherry) / MB),
    number(wherry.rounds.reduce((sum, { bytesSpooled }) => sum + bytesSpooled, 0) / MB),
    number(wherry.lastMs),
    number(wherry.last.bytesRead / MB),
    ...[wherry.commitSeconds, wherry.pullSeconds, wherry.pulledBytes / MB, wherry.applySeconds, wherry.seconds].map(
      number,
    ),
  ])
  return (
    `Where Wherry's time goes (the last round is the one that containers stand still for; here there are ` +
    `none)\n${table(head, rows)}`
  )
}

function trackerLine(rounds: readonly DirtyRound[]): string {
  const reasons = reasonsOf(rounds)
  return reasons.length === 0
    ? 'The tracker answered in every round.'
    : `The tracker did not answer in every round: ${reasons.join('; ')}`
}

/** Why files were read whole; empty: the tracker answered. */
function reasonsOf(rounds: readonly DirtyRound[]): string[] {
  const all = rounds.flatMap(({ wherry }) =>
    wherry.rounds.flatMap(({ scanned }) => (scanned === null ? [] : [scanned])),
  )
  return [...new Set(all)]
}

function readBytes({ rounds }: DirtyRound['wherry']): number {
  return rounds.reduce((sum, { bytesRead }) => sum + bytesRead, 0)
}

function copyFigures(rounds: readonly DirtyRound[]) {
  const seconds = (peer: Peer) => middle(rounds, (round) => round[peer].seconds)
  const sentMb = (peer: Peer) => rounded(middle(rounds, (round) => round[peer].sentBytes) / MB)
  return {
    vs_inplace: rounded(seconds('inplace') / seconds('wherry')),
    vs_btrfs_send: rounded(seconds('btrfs') / seconds('wherry')),
    wherry_s: rounded(seconds('wherry')),
    inplace_s: rounded(seconds('inplace')),
    btrfs_send_s: rounded(seconds('btrfs')),
    wherry_sent_mb: sentMb('wherry'),
    inplace_sent_mb: sentMb('inplace'),
    btrfs_sent_mb: sentMb('btrfs'),
    read_mb: rounded(middle(rounds, ({ wherry }) => readBytes(wherry) + wherry.last.bytesRead) / MB),
    last_round_ms: rounded(middle(rounds, ({ wherry }) => wherry.lastMs)),
    copies_tracked: reasonsOf(rounds).length === 0,
  }
}
