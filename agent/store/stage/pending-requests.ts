import { WherryError } from '../../model/errors.ts'
import type { Want } from '../tree-contract.ts'

/** What an answer says that it answers. */
export type Answered = Want extends infer W ? (W extends Want ? Omit<W, 'bytes'> : never) : never

/** What was asked for and not answered yet. */
export class PendingRequests {
  readonly #wants = new Map<string, Want>()
  /** Of these, wants for lists. */
  lists = 0

  get count(): number {
    return this.#wants.size
  }

  add(want: Want): void {
    this.#wants.set(keyOf(want), want)
    if (want.kind === 'hashes') this.lists++
  }

  /** Throws REQUEST_INVALID when this was not asked for. */
  check(want: Answered): void {
    const asked = this.#wants.get(keyOf(want))
    if (asked !== undefined && sameWant(asked, want)) return
    throw new WherryError('REQUEST_INVALID', 'Data came that was not asked for, or for the second time.')
  }

  /** As `check`; the want is answered with this. */
  remove(want: Answered): void {
    this.check(want)
    this.#wants.delete(keyOf(want))
    if (want.kind === 'hashes') this.lists--
  }
}

function keyOf(want: Answered): string {
  if (want.kind === 'files') return `files ${want.indexes[0]}`
  return want.kind === 'hashes' ? `hashes ${want.index}` : `blocks ${want.run.index} ${want.run.first}`
}

function sameWant(a: Answered, b: Answered): boolean {
  if (a.kind === 'blocks') return b.kind === 'blocks' && a.run.count === b.run.count
  if (a.kind === 'hashes' || b.kind !== 'files') return true
  return a.indexes.length === b.indexes.length && a.indexes.every((index, nth) => index === b.indexes[nth])
}
