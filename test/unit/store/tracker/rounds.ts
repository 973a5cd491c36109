import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Cursor, FileChanges, Tracker } from '../../../../agent/store/tracker/contract.ts'

const WRITER = new URL('../../../fixtures/tracked-writer.py', import.meta.url).pathname
const OWNER = 'volume'
const RELEASE_EVERY = 7

export interface RoundOutcome {
  readonly rounds: number
  /** Differences that the tracker did not tell, with what was done in that round. */
  readonly missed: readonly string[]
  /** How often each kind of change was made. */
  readonly done: Readonly<Record<string, number>>
  /** Bytes the tracker told to read, and bytes of blocks that were found changed: what exactness costs. */
  readonly reportedBytes: number
  readonly changedBytes: number
  /** Answers of null for a file that was known before. */
  readonly unknown: number
}

/** Lets a writer change files and asks the tracker after each few changes, for so many rounds. */
export async function playRounds(
  tracker: Tracker,
  where: { readonly directory: string; readonly other: string; readonly seed: number; readonly rounds: number },
): Promise<RoundOutcome> {
  const { directory, other, seed, rounds } = where
  const child = spawn('python3', [WRITER, directory, other, String(seed), '3'], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async () => {
    const { value, done } = await lines.next()
    if (done) throw new Error('The writer ended.')
    return JSON.parse(value)
  }
  const total = {
    missed: [] as string[],
    done: {} as Record<string, number>,
    reportedBytes: 0,
    changedBytes: 0,
    unknown: 0,
  }
  let since: Cursor = 0
  let known = new Set<string>()
  try {
    for (let round = 0; round < rounds; round += 1) {
      const { inodes, done } = (await next()) as { inodes: string[]; done: string[] }
      for (const kind of done) total.done[kind] = (total.done[kind] ?? 0) + 1
      // New files first: read whole after this cut, they are known since it.
      tracker.watch(OWNER, inodes.map(BigInt))
      const cursor = tracker.cut()
      const answers = Object.fromEntries(inodes.map((inode) => [inode, tracker.changes(BigInt(inode), since)]))
      total.unknown += inodes.filter((inode) => known.has(inode) && answers[inode] === null).length
      known = new Set(inodes)
      child.stdin.write(`${JSON.stringify(answers, (_, value) => compact(value))}\n`)
      const found = (await next()) as { missed: unknown[]; reported: number; changed: number }
      total.reportedBytes += found.reported
      total.changedBytes += found.changed
      for (const miss of found.missed)
        total.missed.push(`round ${round}: ${JSON.stringify(miss)} after ${done.join(', ')}`)
      since = cursor
      if (round % RELEASE_EVERY === 0) tracker.release(OWNER, cursor)
    }
  } finally {
    child.stdin.end()
    if (child.exitCode === null) await once(child, 'exit')
  }
  return { rounds, ...total }
}

/** A range as the writer reads it. */
function compact(value: unknown): unknown {
  const range = value as { offset?: number; length?: number } | null
  return range !== null && typeof range === 'object' && range.offset !== undefined
    ? [range.offset, range.length]
    : value
}

/** Whether an answer tells that this byte may have changed. */
export function tells(changes: FileChanges, offset: number): boolean {
  if (changes === null || changes === 'all') return true
  return changes.some((range) => range.offset <= offset && offset < range.offset + range.length)
}
