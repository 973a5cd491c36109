/** One record that a container wrote. */
export interface WrittenRecord {
  readonly number: number
  readonly host: string
  readonly container: string
  /** True time. */
  readonly atMs: number
}

/**
 * The content of a volume: records in the order in which they were written. Trees share what they have in common, so
 * comparing, copying and keeping them costs next to nothing. The hash depends on the content alone.
 */
export class Tree {
  readonly before: Tree | null
  readonly entry: WrittenRecord | null
  readonly length: number
  readonly hash: string
  /** The client was told that this record is durable. */
  acked = false
  readonly #mixed: number

  constructor(before: Tree | null, entry: WrittenRecord | null) {
    this.before = before
    this.entry = entry
    this.length = before === null ? 0 : before.length + 1
    this.#mixed = before === null ? 17 : mix(before.#mixed, entry?.number ?? 0)
    this.hash = `${this.length}:${this.#mixed.toString(16)}`
  }

  append(entry: WrittenRecord): Tree {
    return new Tree(this, entry)
  }

  /** Whether the other tree begins with all of this one's records. */
  isPrefixOf(other: Tree): boolean {
    let at: Tree | null = other
    while (at !== null && at.length > this.length) at = at.before
    return at !== null && at.hash === this.hash
  }

  /** The tree up to the newest record that the client was told is durable. */
  ackedPart(): Tree {
    let at: Tree = this
    while (!at.acked && at.before !== null) at = at.before
    return at
  }

  /** The part that both trees begin with. */
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
