import type { LocalCopy, Store } from '../../store/contract.ts'

type Noted = Pick<Store, 'create' | 'update' | 'diverge' | 'trash' | 'setAside'>

/**
 * The same store; `note` is called with each changed record before the change resolves.
 * Null: the copy is gone.
 */
export function notedStore(store: Store, note: (id: string, copy: LocalCopy | null) => void): Store {
  const noted = async (changing: Promise<LocalCopy>): Promise<LocalCopy> => {
    const copy = await changing
    note(copy.id, copy)
    return copy
  }
  const calls: Noted = {
    create: (volume) => noted(store.create(volume)),
    update: (id, change) => noted(store.update(id, change)),
    diverge: (id, at, bytes) => noted(store.diverge(id, at, bytes)),
    trash: async (id) => {
      await store.trash(id)
      note(id, null)
    },
    setAside: async (id) => {
      const directory = await store.setAside(id)
      note(id, null)
      return directory
    },
  }
  return new Proxy(store, {
    get(target, key) {
      if (Object.hasOwn(calls, key)) return calls[key as keyof Noted]
      const value: unknown = Reflect.get(target, key)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}
