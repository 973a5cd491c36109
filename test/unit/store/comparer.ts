import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { type Range, roundedOut, without } from './ranges.ts'

/** Debian's own: nothing that a shell's PATH puts before it. */
const PYTHON = '/usr/bin/python3'
const TREE_FACTS = fileURLToPath(new URL('../../fixtures/tree-facts.py', import.meta.url))
const OUTPUT_MAX_BYTES = 256 * 1024 * 1024

/** Data and holes alternate in pieces of a page at the least, whatever the file system's block. */
const PAGE_BYTES = 4096
/**
 * A file of at most one block is sent and stored whole: its holes may become zeros (docs/architecture.md,
 * "Blocks").
 */
const WHOLE_UP_TO_BYTES = 64 * 1024
/**
 * Disk space that the receiver may take more than the sender: file systems round up, and small files lose their
 * holes.
 * A hole made of zeros changes no content.
 */
const SLACK_BYTES = 4 * 1024 * 1024
const SLACK_PARTS = 0.1

/** The facts of one entry (test/fixtures/tree-facts.py). Bytes of names, targets and attribute names as latin1. */
interface Facts {
  readonly kind: 'file' | 'dir' | 'symlink' | 'fifo' | 'socket' | 'char' | 'block'
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeNs: string
  readonly xattrs: Readonly<Record<string, string>>
  readonly flags: readonly string[]
  readonly inode: string
  readonly allocated: number
  readonly links?: number
  readonly target?: string
  readonly device?: readonly [number, number]
  readonly size?: number
  readonly sha256?: string
  readonly data?: readonly Range[]
  readonly unwritten?: readonly Range[]
}

/** As `ls` and `find` call the kinds. */
const LETTERS = { file: 'f', dir: 'd', symlink: 'l', fifo: 'p', socket: 's', char: 'c', block: 'b' } as const

interface TreeFacts {
  readonly fileSystem: string
  readonly entries: Readonly<Record<string, Facts>>
}

export interface CompareOptions {
  /**
   * `exact`: data and holes of every file larger than a block lie at the same places (zeros that were written are
   * data), but what the sender preallocated and never wrote may be either. `bounded`: the receiver takes at most
   * 4 MiB + 10 % more than the sender. By default exact on file systems of one kind, else bounded.
   */
  readonly extents?: 'exact' | 'bounded'
}

/**
 * Compares two trees completely, with the kernel's own answers and nothing of the store: kind, mode, owner, ns mtime,
 * size, symlink target, device numbers, names of one inode, all extended attributes raw, inode flags, content, holes.
 * Answers what differs in lines for a person; none when the receiver's tree equals the sender's.
 */
export function differences(sender: string, receiver: string, options: CompareOptions = {}): string[] {
  const [from, to] = readFacts(sender, receiver) as [TreeFacts, TreeFacts]
  const sameKind = from.fileSystem === to.fileSystem
  // Only btrfs knows it.
  const leftOut = sameKind ? null : 'nocow'
  const [wanted, is] = [new Set(lines(from, leftOut)), new Set(lines(to, leftOut))]
  const attributes = [
    ...[...wanted.difference(is)].map((line) => `sender:   ${line}`),
    ...[...is.difference(wanted)].map((line) => `receiver: ${line}`),
  ]
  const exact = options.extents === undefined ? sameKind : options.extents === 'exact'
  return [...attributes.sort(byPath), ...(exact ? extentDifferences(from, to) : []), ...excess(from, to)]
}

/** One line for each entry of a tree, sorted: everything but where its holes are and what it takes on the disk. */
export function describeTree(root: string): string[] {
  return lines((readFacts(root) as [TreeFacts])[0], null)
}

/** Bytes on the disk under `root`. */
export function allocatedBytes(root: string): number {
  return allocated((readFacts(root) as [TreeFacts])[0])
}

function readFacts(...roots: string[]): TreeFacts[] {
  const options = { encoding: 'utf8', maxBuffer: OUTPUT_MAX_BYTES } as const
  const output = execFileSync(PYTHON, [TREE_FACTS, ...roots], options)
  return output
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as TreeFacts)
}

function lines({ entries }: TreeFacts, withoutFlag: string | null): string[] {
  const names = new Map<string, string[]>()
  for (const [path, { inode }] of Object.entries(entries)) names.set(inode, [...(names.get(inode) ?? []), path])
  return Object.entries(entries)
    .map(([path, facts]) => {
      const { kind, mode, uid, gid, mtimeNs, size, target, device, sha256, links, xattrs } = facts
      const partners = names.get(facts.inode)?.sort()
      const flags = facts.flags.filter((flag) => flag !== withoutFlag)
      const more = {
        size,
        target,
        device,
        sha256,
        links,
        partners: kind === 'dir' ? undefined : partners,
        flags,
        xattrs,
      }
      const owner = `${mode.toString(8)} ${uid} ${gid}`
      return `${JSON.stringify(path)} ${LETTERS[kind]} ${owner} ${mtimeNs} ${JSON.stringify(more)}`
    })
    .sort()
}

function byPath(a: string, b: string): number {
  const path = (line: string) => line.slice(line.indexOf('"'))
  return path(a) < path(b) ? -1 : 1
}

function extentDifferences(from: TreeFacts, to: TreeFacts): string[] {
  const found: string[] = []
  for (const [path, sent] of Object.entries(from.entries)) {
    const received = to.entries[path]
    if (sent.size === undefined || sent.size <= WHOLE_UP_TO_BYTES || received?.size !== sent.size) continue
    const either = roundedOut(sent.unwritten ?? [], PAGE_BYTES)
    const [wanted, is] = [without(written(sent), either), without(written(received), either)]
    const filled = without(is, wanted)
    const gone = without(wanted, is)
    if (filled.length === 0 && gone.length === 0) continue
    const more = `holes filled ${JSON.stringify(filled)}, data gone ${JSON.stringify(gone)}`
    found.push(`extents of ${JSON.stringify(path)} (${sent.size} bytes): ${more}`)
  }
  return found
}

/** Ranges that hold written data, in whole pages. */
function written({ data = [], unwritten = [] }: Facts): Range[] {
  return without(roundedOut(data, PAGE_BYTES), roundedOut(unwritten, PAGE_BYTES))
}

function excess(from: TreeFacts, to: TreeFacts): string[] {
  const [sent, received] = [allocated(from), allocated(to)]
  if (received <= sent * (1 + SLACK_PARTS) + SLACK_BYTES) return []
  return [`the receiver takes ${received} bytes on its disk, the sender ${sent}`]
}

function allocated({ entries }: TreeFacts): number {
  return [...new Map(Object.values(entries).map((facts) => [facts.inode, facts.allocated])).values()].reduce(
    (sum, bytes) => sum + bytes,
    0,
  )
}
