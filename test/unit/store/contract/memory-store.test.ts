import { VirtualClock } from '../../../fake/clock.ts'
import { hashOf, MemoryStore } from '../../../fake/memory-store.ts'
import { testStore } from './store-contract.ts'
import type { StoreSubject } from './store-kit.ts'

testStore('the store in memory', async (): Promise<StoreSubject> => {
  const clock = new VirtualClock()
  const store = new MemoryStore(clock)
  return {
    store,
    write: (id, text) => void store.trees.set(id, text),
    restore: (id, text) => void store.trees.set(id, text),
    read: (id) => store.trees.get(id) ?? '',
    receive: async (volume, text) => {
      await store.stage(volume, text)
      return hashOf(text)
    },
    give: async ({ id, kind }) => {
      const { hash, tree } = await store.give(id, kind)
      return { hash, text: tree }
    },
    settle: (promise) => clock.until(promise),
  }
})
