import { responseMismatch } from './errors.ts'

/** One response to a `hashes` request: collects chunks until the list is whole. */
export class IncomingList {
  readonly index: number
  readonly #list: Buffer
  #filled = 0

  /** `bytes`: length of the list of file `index`. */
  constructor(index: number, bytes: number) {
    this.index = index
    this.#list = Buffer.allocUnsafeSlow(bytes)
  }

  /** Takes a chunk. REQUEST_INVALID: the list would be too long. */
  take(chunk: Buffer): void {
    if (this.#filled + chunk.length > this.#list.length) throw responseMismatch('a list of block hashes is too long')
    chunk.copy(this.#list, this.#filled)
    this.#filled += chunk.length
  }

  /** Returns the whole list. REQUEST_INVALID: it is too short. */
  finish(): Buffer {
    if (this.#filled !== this.#list.length) throw responseMismatch('a list of block hashes is too short')
    return this.#list
  }
}
