import { type ContentStretch, overwrite } from './content.ts'
import { Noise } from './noise.ts'

const PAGE_BYTES = 8 * 1024
/** All pages of the run together must be few beside those there are. */
const MOST_SHARE = 0.5

/** Pages that a database writes here and there in its files: each time others, the same in each tree that is given. */
export class DirtyPages {
  readonly #files: readonly string[]
  readonly #pagesInFile: number
  readonly #noise = new Noise('dirty pages')
  readonly #written = new Set<string>()

  constructor(files: readonly string[], fileBytes: number) {
    this.#files = files
    this.#pagesInFile = Math.floor(fileBytes / PAGE_BYTES)
  }

  /** Writes so many pages that have not been written before, spread evenly over the files, into all trees. */
  write(trees: readonly string[], count: number): void {
    if (this.#written.size + count > MOST_SHARE * this.#files.length * this.#pagesInFile)
      throw new Error('too many rounds for so little data: a larger --scale, or fewer --rounds')
    const places = new Map<string, ContentStretch[]>()
    for (let nth = 0; nth < count; nth++) {
      const file = this.#files[nth % this.#files.length] ?? ''
      places.set(file, [...(places.get(file) ?? []), { offset: this.#newPage(file) * PAGE_BYTES, length: PAGE_BYTES }])
    }
    for (const tree of trees) {
      const content = new Noise(`dirty content ${this.#written.size}`)
      for (const [file, stretches] of places) overwrite(`${tree}/${file}`, content, stretches)
    }
  }

  #newPage(file: string): number {
    while (true) {
      const page = this.#noise.below(this.#pagesInFile)
      const key = `${file} ${page}`
      if (this.#written.has(key)) continue
      this.#written.add(key)
      return page
    }
  }
}
