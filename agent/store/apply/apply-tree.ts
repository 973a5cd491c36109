import { closeSync, linkSync, renameSync, rmdirSync, unlinkSync } from 'node:fs'
import { WherryError } from '../../model/errors.ts'
import type { FaultPoint } from '../../runtime/fault-point.ts'
import { YieldLoop } from '../../runtime/yield-loop.ts'
import { errnoOf } from '../../sys/failure.ts'
import { makeInode, setAttributes } from '../inode/attributes.ts'
import { DirectoryCursor, openRoot } from '../inode/directory.ts'
import { changeFlags } from '../inode/flags.ts'
import { printable } from '../manifest/byte-path.ts'
import { attributesDiffer, type Plan } from '../manifest/plan.ts'
import type { Body } from '../manifest/record-codec.ts'
import type { Snapshot } from '../snapshot/snapshot.ts'
import type { Stage } from '../stage/stage.ts'
import type { BlockPool } from '../workers/contract.ts'
import { writeInPlace } from './in-place.ts'
import { touchedDirectories, unlockedEntries } from './touched-directories.ts'

export interface TreeChangeParts {
  /** Path of the tree. */
  readonly data: string
  readonly plan: Plan
  /** The tree as it is: `plan.mine` is its manifest. */
  readonly mine: Snapshot
  /** Has all that the plan needs: `stage.missing` returned 0. */
  readonly stage: Stage
  readonly pool: BlockPool
  readonly faultPoint: FaultPoint
}

/**
 * Changes one tree into another, everything relative to held directories.
 * Each step may be repeated after a crash: the plan is then made again.
 */
export class TreeChange {
  readonly #parts: TreeChangeParts
  readonly #plan: Plan
  readonly #pace = new YieldLoop()
  /** Directories of the target in which names come or go, and new ones: their times are set at the end. */
  readonly #touched: ReadonlySet<number>
  /** Entries of this host's tree whose flags are in the way. */
  readonly #unlocked: ReadonlySet<number>

  constructor(parts: TreeChangeParts) {
    this.#parts = parts
    this.#plan = parts.plan
    this.#touched = touchedDirectories(parts.plan)
    this.#unlocked = unlockedEntries(parts.plan, this.#touched)
  }

  async run(): Promise<void> {
    const root = openRoot(this.#parts.data)
    const mirror = openMirror(this.#parts.stage.newRoot)
    try {
      const { mine, target } = this.#plan
      {
        using before = new DirectoryCursor(root, mine)
        await this.#clearFlags(before)
        await this.#remove(before)
      }
      this.#parts.stage.forget()
      using cursor = new DirectoryCursor(root, target)
      using others = new DirectoryCursor(root, target)
      using staged = mirror === null ? null : new DirectoryCursor(mirror, target)
      await this.#place(cursor, others, staged)
      await this.#settleDirectories(cursor)
      await this.#setFlags(cursor, 'file')
      await this.#setFlags(cursor, 'dir')
    } finally {
      if (mirror !== null) closeSync(mirror)
      closeSync(root)
    }
  }

  /**
   * A crash after this leaves entries without their flags: they differ from the target then, and get them at the
   * end.
   */
  async #clearFlags(cursor: DirectoryCursor): Promise<void> {
    for (const index of [...this.#unlocked].sort((a, b) => a - b)) {
      changeFlags(cursor.locate(index), 0)
      await this.#did('flags-cleared')
    }
  }

  /**
   * Removes what the target does not have, and entries of another kind that are in the way.
   * Deepest first.
   */
  async #remove(cursor: DirectoryCursor): Promise<void> {
    const { mine, removed } = this.#plan
    for (const index of removed.toReversed()) {
      const place = cursor.locate(index)
      if (mine.kind(index) === 'dir') rmdirSync(place)
      else unlinkSync(place)
      await this.#did('removed')
    }
  }

  async #place(cursor: DirectoryCursor, others: DirectoryCursor, staged: DirectoryCursor | null): Promise<void> {
    const { target } = this.#plan
    /** Up to this index all is in a directory that was moved whole, with every regular file in it. */
    let cameWhole = 0
    for (let index = 0; index < target.count; index++) {
      const step = this.#plan.step(index)
      if (step === 'keep') continue
      const body = target.body(index)
      if (step === 'make' && body.kind === 'dir') {
        if (index >= cameWhole && this.#moveDirectory(index, cursor, staged)) {
          cameWhole = target.subtreeEnd(index)
          await this.#did('directory-placed')
        } else if (makeDirectory(cursor.locate(index), body)) await this.#did('made')
      } else if (step === 'make') {
        await this.#make(index, body, cursor)
      } else if (step === 'file') {
        if (index >= cameWhole) await this.#moveFile(index, cursor, staged)
      } else if (step === 'link') {
        await this.#link(index, body, cursor, others)
      } else if (step === 'blocks') {
        await writeInPlace(this.#parts, index, cursor.locate(index))
        await this.#did('blocks-written')
        this.#setAttributes(index, body, cursor)
        await this.#did('attributes-set')
      } else if (body.kind !== 'dir' && attributesDiffer(this.#plan, index)) {
        this.#setAttributes(index, body, cursor)
        await this.#did('attributes-set')
      }
    }
  }

  /** False: nothing in it was staged. */
  #moveDirectory(index: number, cursor: DirectoryCursor, staged: DirectoryCursor | null): boolean {
    if (staged === null) return false
    const place = cursor.locate(index)
    try {
      renameSync(staged.locate(index), place)
      return true
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error
      return false
    }
  }

  async #moveFile(index: number, cursor: DirectoryCursor, staged: DirectoryCursor | null): Promise<void> {
    if (staged === null) throw this.#gone(index)
    const place = cursor.locate(index)
    try {
      renameSync(staged.locate(index), place)
    } catch (error) {
      throw errnoOf(error) === 'ENOENT' ? this.#gone(index, error) : error
    }
    await this.#did('file-placed')
  }

  async #make(index: number, body: Body, cursor: DirectoryCursor): Promise<void> {
    if (body.kind === 'link') return
    const place = cursor.locate(index)
    unlinkIfThere(place)
    makeInode(place, body)
    setAttributes(place, body)
    await this.#did('made')
  }

  async #link(index: number, body: Body, cursor: DirectoryCursor, others: DirectoryCursor): Promise<void> {
    if (body.kind !== 'link') return
    const place = cursor.locate(index)
    unlinkIfThere(place)
    linkSync(others.locate(body.to), place)
    await this.#did('linked')
  }

  #setAttributes(index: number, body: Body, cursor: DirectoryCursor): void {
    if (body.kind === 'link') return
    const partner = this.#plan.partner(index)
    const present = partner < 0 ? undefined : this.#plan.mine.body(partner)
    // Writing clears suid and capabilities: present attributes are known only of an inode that was not written to.
    const known = this.#plan.step(index) === 'attributes' && present?.kind === body.kind ? present : undefined
    setAttributes(cursor.locate(index), body, known)
  }

  /** Sets the times of directories, which move with every change inside: deepest first, after everything else. */
  async #settleDirectories(cursor: DirectoryCursor): Promise<void> {
    const { target } = this.#plan
    for (let index = target.count - 1; index >= 0; index--) {
      if (target.kind(index) !== 'dir') continue
      if (!this.#touched.has(index) && this.#plan.step(index) === 'keep') continue
      const body = target.body(index)
      if (body.kind !== 'dir') continue
      setAttributes(cursor.locate(index), body)
      await this.#did('directory-settled')
    }
  }

  /**
   * Sets inode flags last, since nothing can be changed under them.
   * Backwards, so that a directory follows its content.
   * New directories inherit some flags from where they were made.
   */
  async #setFlags(cursor: DirectoryCursor, kind: 'file' | 'dir'): Promise<void> {
    const { target } = this.#plan
    for (let index = target.count - 1; index >= 0; index--) {
      if (target.kind(index) !== kind || !this.#mayLackFlags(index)) continue
      if (changeFlags(cursor.locate(index), target.flags(index))) await this.#did('flags-set')
    }
  }

  #mayLackFlags(index: number): boolean {
    const { target, mine } = this.#plan
    const [step, partner] = [this.#plan.step(index), this.#plan.partner(index)]
    const wanted = target.flags(index)
    if (partner >= 0 && this.#unlocked.has(partner)) return wanted !== 0
    if (step === 'keep') return false
    if (step === 'make') return true
    if (step === 'file') return wanted !== 0
    return partner < 0 || mine.flags(partner) !== wanted
  }

  #gone(index: number, cause?: unknown): WherryError {
    const what = `The staged content of ${printable(this.#plan.target.path(index))} is gone.`
    return new WherryError('STAGE_INCOMPLETE', what, { hint: 'Let the copy be filled again.', cause })
  }

  async #did(step: string): Promise<void> {
    this.#parts.faultPoint(step)
    if (this.#pace.due()) await this.#pace.rest()
  }
}

/** Opens the mirror of staged files; null when nothing was staged. */
function openMirror(path: string): number | null {
  try {
    return openRoot(path)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
    return null
  }
}

/** False: it came with its parent. */
function makeDirectory(place: Buffer, body: Body): boolean {
  if (body.kind === 'link') return false
  try {
    makeInode(place, body)
    return true
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error
    return false
  }
}

function unlinkIfThere(place: Buffer): void {
  try {
    unlinkSync(place)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
  }
}
