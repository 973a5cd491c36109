import { type BytePath, MAX_DEPTH } from './byte-path.ts'
import { depthAt, HEAD_BYTES, kindAt, linkTargetAt, Malformed, nameAt, nameLengthAt } from './record-codec.ts'

/** Checks that records follow each other as a tree's do. */
export class TreeCheck {
  readonly #buffer: Buffer
  /** Offsets of the records from the root down to the last one, by depth. */
  readonly #open: number[] = []
  /** Per entry: whether a hard link may name it. */
  readonly #linkable: boolean[] = []

  constructor(buffer: Buffer) {
    this.#buffer = buffer
  }

  get lastName(): BytePath {
    const last = this.#open.at(-1)
    return last === undefined ? '' : nameAt(this.#buffer, last)
  }

  take(at: number): void {
    const kind = kindAt(this.#buffer, at)
    const depth = depthAt(this.#buffer, at)
    if (this.#linkable.length === 0) {
      if (depth !== 0 || kind !== 'dir') throw new Malformed('the first entry is not the root directory')
    } else {
      this.#checkPlace(at, depth)
    }
    if (kind === 'link') {
      const to = linkTargetAt(this.#buffer, at)
      if (this.#linkable[to] !== true) throw new Malformed('hard link to nothing')
    }
    this.#open.length = depth
    this.#open.push(at)
    this.#linkable.push(kind !== 'dir' && kind !== 'link')
  }

  #checkPlace(at: number, depth: number): void {
    const parent = this.#open[depth - 1]
    if (depth === 0 || depth > MAX_DEPTH || parent === undefined || kindAt(this.#buffer, parent) !== 'dir') {
      throw new Malformed('parent is missing or no directory')
    }
    const sibling = this.#open[depth]
    if (sibling !== undefined && compareNamesAt(this.#buffer, sibling, at) >= 0)
      throw new Malformed('entries out of order')
  }
}

function compareNamesAt(buffer: Buffer, a: number, b: number): number {
  const aEnd = a + HEAD_BYTES + nameLengthAt(buffer, a)
  const bEnd = b + HEAD_BYTES + nameLengthAt(buffer, b)
  return buffer.compare(buffer, b + HEAD_BYTES, bEnd, a + HEAD_BYTES, aEnd)
}
