import type { Parts } from '../../agent/mobility/parts.ts'
import type { Store } from '../../agent/store/contract.ts'
import type { Machine } from './machine.ts'
import { type Settings, SHIPPED } from './settings.ts'

/** A rule that is broken on purpose, and by which promises that must be noticed. */
export interface Mutation {
  readonly name: string
  readonly settings: Partial<Settings>
  readonly rules: readonly string[]
}

export const MUTATIONS: readonly Mutation[] = [
  { name: 'no margin', settings: { seizeAfterMs: 3_000, rivals: 1 }, rules: ['promise 6', 'promise 1'] },
  { name: 'fence too late', settings: { watchdogSleepsMs: 8_000, rivals: 1 }, rules: ['promise 6', 'promise 1'] },
  { name: 'no epoch check', settings: { setBack: 0.5, bend: forgetEpochs }, rules: ['promise 8'] },
  {
    name: 'claim before verify',
    settings: { tampering: true, bend: believeHashes },
    rules: ['promise 2', 'promise 3'],
  },
  { name: 'empty mount allowed', settings: { bend: overlookLast }, rules: ['promise 2', 'promise 3'] },
]

/** As shipped, or with one rule broken. Throws for a name that is not in the list. */
export function settingsFor(name: string | null): Settings {
  if (name === null) return SHIPPED
  const mutation = MUTATIONS.find((one) => one.name === name)
  if (mutation === undefined) throw new Error(`no mutation ${name}`)
  return { ...SHIPPED, ...mutation.settings }
}

/** The store does not say which epochs the disk has seen. */
function forgetEpochs(parts: Parts): Parts {
  const { store } = parts
  return withStore(parts, {
    copy: async (id) => {
      const copy = await store.copy(id)
      return copy === null ? null : { ...copy, epochSeen: 0 }
    },
    copies: async () => {
      const { copies, damaged } = await store.copies()
      return { copies: copies.map((copy) => ({ ...copy, epochSeen: 0 })), damaged }
    },
  })
}

/** A quiet tree is said to be what its checkpoint says, without a look. */
function believeHashes(parts: Parts): Parts {
  const { store } = parts
  return withStore(parts, {
    capture: async (id, kind, signal) => {
      const capture = await store.capture(id, kind, signal)
      const copy = await store.copy(id)
      if (kind === 'live' || copy === null || copy.held !== null || copy.checkpoint === null) return capture
      return { ...capture, hash: copy.checkpoint.hash }
    },
  })
}

/** A host without a copy takes an idle volume for one that was never written. */
function overlookLast(parts: Parts, machine: Machine): Parts {
  const { registry } = parts
  const read: typeof registry.volume = async (name) => {
    const entry = await registry.volume(name)
    if (entry === null || entry.value.holder !== null) return entry
    if (machine.disk.shelf(entry.value.id) !== undefined) return entry
    return { ...entry, value: { ...entry.value, last: null } }
  }
  return { ...parts, registry: over(registry, { volume: read }) }
}

function withStore(parts: Parts, changes: Partial<Store>): Parts {
  return { ...parts, store: over(parts.store, changes) }
}

/** The same object with some of its methods replaced. */
function over<T extends object>(target: T, changes: Partial<T>): T {
  return new Proxy(target, {
    get(object, key) {
      const changed = changes[key as keyof T]
      if (changed !== undefined) return changed
      const value = Reflect.get(object, key) as unknown
      return typeof value === 'function' ? value.bind(object) : value
    },
  })
}
