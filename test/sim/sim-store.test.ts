import { Timeline } from '../fake/timeline.ts'
import { testStore } from '../unit/store/contract/store-contract.ts'
import type { StoreSubject } from '../unit/store/contract/store-kit.ts'
import { SimProcess } from './process.ts'
import { Random } from './random.ts'
import { SimDisk } from './sim-disk.ts'
import { SimStore } from './sim-store.ts'
import { EMPTY, Tree } from './tree.ts'

/** Running so far ahead finds what is waited for. */
const LONG_MS = 60_000

testStore('the store of the simulator', async (): Promise<StoreSubject> => {
  const timeline = new Timeline()
  const random = new Random(1)
  const disk = new SimDisk('h1', random, { replaced: () => undefined, recordChanged: () => undefined })
  const store = new SimStore(disk, new SimProcess(timeline, 'agent'), random)
  const texts = new Texts()
  return {
    store,
    write: (id, text) => {
      const shelf = disk.shelf(id)
      if (shelf !== undefined) shelf.tree = texts.tree(text)
    },
    restore: (id, text) => {
      const shelf = disk.shelf(id)
      if (shelf !== undefined) shelf.tree = texts.tree(text)
    },
    read: (id) => texts.text(disk.shelf(id)?.tree ?? EMPTY),
    receive: (volume, text) =>
      store.receive(volume, async (stage) => {
        stage(texts.tree(text))
        return texts.tree(text).hash
      }),
    give: async ({ id, kind }) => {
      const tree = store.manifest(id, kind)
      // By chance not all content of a tree in use can be had.
      const tries = Array.from({ length: 100 }, () => store.delivers(id, kind, tree))
      return { hash: tree.hash, text: tries.includes(true) ? texts.text(tree) : null }
    },
    settle: async (promise) => {
      let settled = false
      const done = () => {
        settled = true
      }
      promise.then(done, done)
      await timeline.run(timeline.nowMs + LONG_MS, () => !settled)
      return await promise
    },
  }
})

/** A text is one record here. */
class Texts {
  readonly #trees = new Map<string, Tree>([['', EMPTY]])

  tree(text: string): Tree {
    const entry = { number: this.#trees.size, host: 'h1', container: text, atMs: 0 }
    const tree = this.#trees.get(text) ?? new Tree(EMPTY, entry)
    this.#trees.set(text, tree)
    return tree
  }

  text(tree: Tree): string {
    for (const [text, { hash }] of this.#trees) if (hash === tree.hash) return text
    throw new Error(`no text is ${tree}`)
  }
}
