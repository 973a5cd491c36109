import type { Entry } from './entry.ts'
import { sameAttributes } from './entry.ts'
import { joinManifests } from './join.ts'
import type { Manifest } from './manifest.ts'
import type { Body } from './record-codec.ts'

/**
 * What has to be done so that a path becomes what the target has.
 * `keep`: nothing. `attributes`: the inode stays, its attributes change.
 * `blocks`: the inode stays; blocks, and perhaps size and attributes, change (large files only).
 * `file`: a regular file comes whole from the stage.
 * `make`: any other kind is made anew; missing directories are made.
 * `link`: a further name of an inode.
 */
export type Step = 'keep' | 'attributes' | 'blocks' | 'file' | 'make' | 'link'

const STEPS: readonly Step[] = ['keep', 'attributes', 'blocks', 'file', 'make', 'link']

/**
 * The difference between a tree (`mine`) and the manifest it is to become (`target`).
 * About 5 bytes for each entry.
 */
export class Plan {
  readonly target: Manifest
  readonly mine: Manifest
  readonly #steps: Uint8Array
  /** Index in `mine` of the entry at the same path, plus 1; 0: there is none. */
  readonly #partners: Uint32Array
  /**
   * Entries of `mine` to be removed before anything is made, in tree order.
   * They are not in the target, or in the way as another kind.
   */
  readonly removed: readonly number[]

  constructor(target: Manifest, mine: Manifest, steps: Uint8Array, partners: Uint32Array, removed: readonly number[]) {
    this.target = target
    this.mine = mine
    this.#steps = steps
    this.#partners = partners
    this.removed = removed
  }

  step(index: number): Step {
    const step = STEPS[this.#steps[index] ?? 0]
    if (step === undefined) throw new RangeError(`entry ${index}`)
    return step
  }

  /** Returns the entry of `mine` at the path of target entry `index`; -1 when there is none. */
  partner(index: number): number {
    return (this.#partners[index] ?? 0) - 1
  }

  /** Returns the indexes of the target with these steps, in tree order. */
  *all(...steps: readonly Step[]): Generator<number> {
    for (let index = 0; index < this.target.count; index++) if (steps.includes(this.step(index))) yield index
  }
}

/** Compares a scanned tree with the manifest it is to become. Pure. */
export function planChanges(target: Manifest, mine: Manifest): Plan {
  const steps = new Uint8Array(target.count)
  const partners = new Uint32Array(target.count)
  const removed: number[] = []
  const linked = linkedIn(mine)
  for (const { a, b } of joinManifests(target, mine)) {
    if (a < 0) {
      removed.push(b)
      continue
    }
    const step = b < 0 ? stepFor(target.kind(a)) : compare(target, a, mine, b, linked, steps, partners)
    steps[a] = STEPS.indexOf(step)
    partners[a] = b + 1
    if (b >= 0 && inTheWay(target, a, mine, b)) removed.push(b)
  }
  return new Plan(target, mine, steps, partners, removed)
}

/** Whether a directory meets another kind, or the reverse: a rename cannot replace these. */
function inTheWay(target: Manifest, a: number, mine: Manifest, b: number): boolean {
  return (target.kind(a) === 'dir') !== (mine.kind(b) === 'dir')
}

function stepFor(kind: Entry['kind']): Step {
  if (kind === 'file' || kind === 'link') return kind
  return 'make'
}

/** Returns inodes with several names. They are never written in place, because their names may part. */
function linkedIn(mine: Manifest): Set<number> {
  const linked = new Set<number>()
  for (let index = 0; index < mine.count; index++) {
    const body = mine.kind(index) === 'link' ? mine.body(index) : null
    if (body?.kind === 'link') linked.add(body.to)
  }
  return linked
}

function compare(
  target: Manifest,
  a: number,
  mine: Manifest,
  b: number,
  linked: ReadonlySet<number>,
  steps: Uint8Array,
  partners: Uint32Array,
): Step {
  const [kind, mineKind] = [target.kind(a), mine.kind(b)]
  if (kind === 'link') return mineKind === 'link' && sameLink(target, a, mine, b, steps, partners) ? 'keep' : 'link'
  if (mineKind !== kind) return stepFor(kind)
  if (target.sameRecord(a, mine, b)) return 'keep'
  if (kind === 'file') return compareFiles(target, a, mine, b, linked)
  const [wanted, present] = [target.body(a), mine.body(b)]
  return sameInode(wanted, present) ? 'attributes' : 'make'
}

function compareFiles(target: Manifest, a: number, mine: Manifest, b: number, linked: ReadonlySet<number>): Step {
  const [wanted, present] = [target.file(a), mine.file(b)]
  if (wanted.sizeBytes === present.sizeBytes && wanted.hash.equals(present.hash)) return 'attributes'
  return target.isLarge(a) && mine.isLarge(b) && !linked.has(b) ? 'blocks' : 'file'
}

/** A link stays when the inode it names stays and is the one it names here. */
function sameLink(
  target: Manifest,
  a: number,
  mine: Manifest,
  b: number,
  steps: Uint8Array,
  partners: Uint32Array,
): boolean {
  const [wanted, present] = [target.body(a), mine.body(b)]
  if (wanted.kind !== 'link' || present.kind !== 'link') return false
  const inodeStays = ['keep', 'attributes', 'blocks'].includes(STEPS[steps[wanted.to] ?? 0] ?? '')
  return inodeStays && (partners[wanted.to] ?? 0) - 1 === present.to
}

/** Whether an inode that is no file can stay and only needs its attributes set. */
function sameInode(a: Body, b: Body): boolean {
  if (a.kind === 'symlink') return b.kind === 'symlink' && a.target === b.target
  if (a.kind === 'char' || a.kind === 'block') return b.kind === a.kind && a.major === b.major && a.minor === b.minor
  return a.kind === b.kind
}

/** Whether a target entry whose inode stays (`attributes`, `blocks`) needs its attributes set. */
export function attributesDiffer(plan: Plan, index: number): boolean {
  const partner = plan.partner(index)
  const [wanted, present] = [plan.target.body(index), partner < 0 ? null : plan.mine.body(partner)]
  if (wanted.kind === 'link') return false
  return present === null || present.kind === 'link' || !sameAttributes(wanted, present)
}
