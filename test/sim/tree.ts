/** One record that a container wrote. */
export interface Entry {
  readonly number: number
  readonly host: string
  readonly container: string
  /** True time. */
  readonly atMs: number
}

/**
 * A volume's content: the records in the order they were written. Trees share what they have in common, so that comparing, copying and remembering them
 * costs next to nothing. The hash is one of content: the same records in the same order.
 */
export class Tree {
  readonly before: Tree | null
  readonly entry: Entry | null
  readonly length: number
  readonly hash: string
  /** The client was told that this record is safe. */
  acked = false
  readonly #mixed: number

  constructor(before: Tree | null, entry: Entry | null) {
    this.before = before
    this.entry = entry
    this.length = before === null ? 0 : before.length + 1
    this.#mixed = before === null ? 17 : mix(before.#mixed, entry?.number ?? 0)
    this.hash = `${this.length}:${this.#mixed.toString(16)}`
  }

  append(entry: Entry): Tree {
    return new Tree(this, entry)
  }

  /** Whether the other tree has all of this one's records first. */
  isPrefixOf(other: Tree): boolean {
    let at: Tree | null = other
    while (at !== null && at.length > this.length) at = at.before
    return at !== null && at.hash === this.hash
  }

  /** The tree up to the newest record that the client was told is safe. */
  ackedPart(): Tree {
    let at: Tree = this
    while (!at.acked && at.before !== null) at = at.before
    return at
  }

  /** What the two trees begin with. */
  common(other: Tree): Tree {
    let at: Tree = this
    while (!at.isPrefixOf(other) && at.before !== null) at = at.before
    return at
  }

  toString(): string {
    const { entry } = this
    return entry === null ? 'empty' : `${this.length} records up to #${entry.number} of ${entry.container}`
  }
}

export const EMPTY = new Tree(null, null)

function mix(hash: number, value: number): number {
  let mixed = Math.imul(hash ^ value, 0x9e3779b1)
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x85ebca77)
  return (mixed ^ (mixed >>> 13)) >>> 0
}
