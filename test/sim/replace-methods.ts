import type { Dependencies } from '../../agent/mobility/dependencies.ts'
import type { Store } from '../../agent/store/contract.ts'

export function withReading(parts: Dependencies, volume: Dependencies['registry']['volume']): Dependencies {
  return { ...parts, registry: replaceMethods(parts.registry, { volume, followedVolume: volume }) }
}

export function withStore(parts: Dependencies, changes: Partial<Store>): Dependencies {
  return { ...parts, store: replaceMethods(parts.store, changes) }
}

/** The same object with some of its methods replaced. */
export function replaceMethods<T extends object>(target: T, changes: Partial<T>): T {
  return new Proxy(target, {
    get(object, key) {
      const changed = changes[key as keyof T]
      if (changed !== undefined) return changed
      const value = Reflect.get(object, key) as unknown
      return typeof value === 'function' ? value.bind(object) : value
    },
  })
}
