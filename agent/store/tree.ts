import { closeSync, linkSync, renameSync, rmdirSync, unlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { WherryError } from '../errors.ts'
import { errnoOf } from '../sys/failure.ts'
import { makeInode, sameAttributes, setAttributes } from './attributes.ts'
import { DirectoryCursor, openRoot } from './directory.ts'
import { type Entry, hashedLine } from './entry.ts'
import type { Manifest } from './manifest.ts'
import { makeManifest } from './manifest.ts'
import { Pace } from './pace.ts'
import { type BytePath, printable } from './path.ts'
import type { Plan } from './plan.ts'
import { type Scan, scanTree } from './scan.ts'
import type { Stage } from './stage.ts'
import { tickAndSync } from './tick.ts'

/** Two clock ticks of a kernel with HZ=100: what was changed before is then older than the next T. */
const CLOCK_TICKS_MS = 20

export type FaultPoint = (name: string) => void

/** Changes one tree into another, everything relative to held directories. Each step may be repeated after a crash. */
export class TreeChange {
  readonly #volume: string
  readonly #data: string
  readonly #target: Manifest
  readonly #plan: Plan
  readonly #stage: Stage
  readonly #faultPoint: FaultPoint
  readonly #pace = new Pace()
  readonly #inodes = new Map<BytePath, bigint>()

  constructor(volume: string, data: string, target: Manifest, plan: Plan, stage: Stage, faultPoint: FaultPoint) {
    this.#volume = volume
    this.#data = data
    this.#target = target
    this.#plan = plan
    this.#stage = stage
    this.#faultPoint = faultPoint
  }

  async run(tree: Scan): Promise<void> {
    const root = openRoot(this.#data)
    try {
      using cursor = new DirectoryCursor(root)
      await this.#remove(tree, cursor)
      using other = new DirectoryCursor(root)
      await this.#place(cursor, other)
      await this.#settleDirectories(cursor)
    } finally {
      closeSync(root)
    }
  }

  /** Takes away what the target does not have, and what stands in the way because it is of another kind. */
  async #remove(tree: Scan, cursor: DirectoryCursor): Promise<void> {
    const kinds = new Map(this.#target.entries.map((entry) => [entry.path, entry.kind]))
    for (const entry of tree.entries.toReversed()) {
      const wanted = kinds.get(entry.path)
      const isDirectory = entry.kind === 'dir'
      if (wanted !== undefined && isDirectory === (wanted === 'dir')) continue
      const place = cursor.locate(entry.path)
      if (isDirectory) rmdirSync(place)
      else unlinkSync(place)
      this.#faultPoint('removed')
      if (this.#pace.due()) await this.#pace.rest()
    }
  }

  async #place(cursor: DirectoryCursor, other: DirectoryCursor): Promise<void> {
    const staged = await this.#stage.contents()
    for (const entry of this.#target.entries) {
      if (!this.#plan.kept.has(entry.path)) this.#make(entry, cursor, other, staged)
      else if (entry.kind !== 'link') this.#keep(entry, cursor)
      if (this.#pace.due()) await this.#pace.rest()
    }
  }

  #keep(entry: Exclude<Entry, { kind: 'link' }>, cursor: DirectoryCursor): void {
    const kept = this.#plan.kept.get(entry.path)
    if (kept === undefined) return
    this.#inodes.set(entry.path, kept.ino)
    if (entry.kind === 'dir' || sameAttributes(kept.entry, entry)) return
    setAttributes(cursor.locate(entry.path), entry)
    this.#faultPoint('attributes-set')
  }

  #make(entry: Entry, cursor: DirectoryCursor, other: DirectoryCursor, staged: Map<string, string[]>): void {
    const place = cursor.locate(entry.path)
    if (entry.kind === 'file') {
      const path = staged.get(entry.hash)?.pop()
      if (path === undefined) throw gone(entry.path)
      this.#inodes.set(entry.path, setAttributes(Buffer.from(path), entry))
      renameSync(path, place)
    } else if (entry.kind === 'link') {
      unlinkIfThere(place)
      linkSync(other.locate(entry.to), place)
    } else {
      if (entry.kind !== 'dir') unlinkIfThere(place)
      makeInode(place, entry)
      if (entry.kind !== 'dir') setAttributes(place, entry)
    }
    this.#faultPoint('placed')
  }

  /** Times of directories move with every change within: deepest first, after all else. */
  async #settleDirectories(cursor: DirectoryCursor): Promise<void> {
    for (const entry of this.#target.entries.toReversed()) {
      if (entry.kind !== 'dir') continue
      setAttributes(cursor.locate(entry.path), entry)
      this.#faultPoint('directory-settled')
      if (this.#pace.due()) await this.#pace.rest()
    }
  }

  /** Syncs, walks the tree again and compares every attribute with the manifest; rejects COPY_DAMAGED naming the first that differs. */
  async verify(tick: string): Promise<Scan> {
    const hashes = new Map(
      this.#target.entries.map((entry) => [entry.path, entry.kind === 'file' ? entry.hash : undefined]),
    )
    await sleep(CLOCK_TICKS_MS)
    const tickNs = await tickAndSync(tick)
    const root = openRoot(this.#data)
    try {
      const scan = await scanTree(root, {
        volume: this.#volume,
        quiet: true,
        tickNs,
        unchanged: () => undefined,
        // Content was hashed when it was staged, or when the tree was scanned; the inode says that it is that very file.
        hashOf: (path, stat) => (this.#inodes.get(path) === stat.ino ? hashes.get(path) : undefined),
        signal: new AbortController().signal,
      })
      const manifest = await makeManifest(scan.entries)
      if (manifest.hash !== this.#target.hash) throw differs(scan.entries, this.#target.entries)
      return scan
    } finally {
      closeSync(root)
    }
  }
}

function unlinkIfThere(place: Buffer): void {
  try {
    unlinkSync(place)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
  }
}

function gone(path: BytePath): WherryError {
  return new WherryError('STAGE_INCOMPLETE', `The staged content of ${printable(path)} is gone.`, {
    hint: 'Let the copy be filled again.',
  })
}

function differs(is: readonly Entry[], wanted: readonly Entry[]): WherryError {
  const index = wanted.findIndex((entry, at) => {
    const found = is[at]
    return found === undefined || hashedLine(found) !== hashedLine(entry)
  })
  const path = (index < 0 ? is[wanted.length] : wanted[index])?.path ?? ''
  return new WherryError('COPY_DAMAGED', `After the copy was applied ${printable(path)} is not as it should be.`, {
    hint: "Check this host's disk and file system, then let the copy be filled again.",
  })
}
