import { Bitmap } from '../blocks/bitmap.ts'
import { joinManifests } from '../manifest/join.ts'
import type { Manifest } from '../manifest/manifest.ts'
import type { Plan } from '../manifest/plan.ts'
import type { StagedFile } from './staged-file.ts'

/**
 * Blocks of a staged large file that were correct for an earlier target.
 * They are those of `hash`'s list that are in `staged` (null: all).
 */
export interface Basis {
  readonly hash: Buffer
  readonly sizeBytes: number
  readonly file: StagedFile | null
}

/**
 * What of one plan is staged.
 * Two bits for each entry, objects only for large files that are partly there.
 */
export class StagedState {
  readonly plan: Plan
  readonly mineHash: string
  /** Small files and large ones that are staged completely. */
  readonly complete: Bitmap
  /** Files that are in a mirror, with any content. */
  readonly present: Bitmap
  /** Large files that are partly there, and all whose step is `blocks` once they were inspected. */
  readonly files = new Map<number, StagedFile>()
  /** What earlier targets left of large files that were not inspected yet. */
  readonly bases = new Map<number, Basis>()
  /** Large files that were compared with their lists. */
  readonly inspected: Bitmap
  /** Files that the plan needs from the stage. */
  readonly needed: number

  constructor(plan: Plan, mineHash: string) {
    this.plan = plan
    this.mineHash = mineHash
    this.complete = new Bitmap(plan.target.count)
    this.present = new Bitmap(plan.target.count)
    this.inspected = new Bitmap(plan.target.count)
    let needed = 0
    for (const _ of plan.all('file', 'blocks')) needed++
    this.needed = needed
  }

  get target(): Manifest {
    return this.plan.target
  }

  /** Returns the large files that the plan needs, in tree order. */
  *large(): Generator<number> {
    for (const index of this.plan.all('file', 'blocks')) if (this.target.isLarge(index)) yield index
  }

  /** Returns the small files that the plan needs and that are not complete, in tree order. */
  *smallMissing(): Generator<number> {
    for (const index of this.plan.all('file')) {
      if (!this.complete.has(index) && !this.target.isLarge(index)) yield index
    }
  }

  /**
   * Takes over what an earlier state knew of files that are still in their mirrors (`present`).
   * Returns small files whose content is correct but whose attributes differ now.
   */
  inherit(from: StagedState): number[] {
    const restyled: number[] = []
    for (const { a, b } of joinManifests(this.target, from.target)) {
      if (a < 0 || b < 0 || !this.present.has(a) || from.plan.step(b) !== this.plan.step(a)) continue
      if (this.target.isLarge(a)) this.#inheritLarge(a, from, b)
      else if (from.complete.has(b) && sameContent(this.target, a, from.target, b)) {
        if (this.target.sameRecord(a, from.target, b)) this.complete.add(a)
        else restyled.push(a)
      }
    }
    return restyled
  }

  #inheritLarge(index: number, from: StagedState, before: number): void {
    const file = from.files.get(before) ?? null
    const basis = from.bases.get(before)
    if (basis !== undefined) this.bases.set(index, basis)
    else if (file !== null || (from.complete.has(before) && from.target.isLarge(before))) {
      const { sizeBytes, hash } = from.target.file(before)
      this.bases.set(index, { hash: Buffer.from(hash), sizeBytes, file })
    }
  }
}

function sameContent(a: Manifest, i: number, b: Manifest, j: number): boolean {
  const [one, two] = [a.file(i), b.file(j)]
  return one.sizeBytes === two.sizeBytes && one.hash.equals(two.hash)
}
