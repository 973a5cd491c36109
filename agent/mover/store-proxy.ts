import type { Store } from '../store/contract.ts'
import type { VolumePuller } from '../transfer/contract.ts'
import type { Answers, Line } from './thread-rpc.ts'

/** Options of the mover's thread; they are cloned into it. */
export interface MoverOptions {
  readonly stateDir: string
  readonly mountRoot: string
  readonly trashRetentionMs: number
  /** What this host may send to others, all copies together; null or undefined: no limit. */
  readonly bandwidthBytesPerSecond?: number | null
  /** Directory and address of this host's certificates. Null: a host without peers has none. */
  readonly tls: { readonly dir: string; readonly address: string } | null
  /** pino's level; the thread writes its log to standard output itself. */
  readonly logLevel: string
}

/** The calls of the store that run in the other thread. Calls that only ask the kernel run here. */
export type StoreCalls = Omit<Store, 'mountpoint' | 'mounted'>

/** A record, so that a missing call does not compile. */
const STORE_CALLS: Record<keyof StoreCalls, true> = {
  copies: true,
  copy: true,
  create: true,
  update: true,
  capture: true,
  captureAside: true,
  probe: true,
  spoolRound: true,
  spoolFreeze: true,
  spoolLast: true,
  spoolThaw: true,
  spoolCommit: true,
  diverge: true,
  space: true,
  apply: true,
  verify: true,
  recover: true,
  mount: true,
  unmount: true,
  trash: true,
  setAside: true,
  removed: true,
  emptyTrash: true,
  dropStage: true,
}
const STORE_CALL_NAMES = Object.keys(STORE_CALLS) as (keyof StoreCalls)[]

/** The mover's side: the store's calls by name. */
export function storeAnswers(store: StoreCalls): Answers {
  return Object.fromEntries(
    STORE_CALL_NAMES.map((name) => [`store.${name}`, (...args: never[]) => Reflect.apply(store[name], store, args)]),
  )
}

/** The main thread's side: each call crosses to the other thread. */
export function remoteStore(line: Line): StoreCalls {
  const calls = STORE_CALL_NAMES.map((name) => [name, (...args: unknown[]) => line.call(`store.${name}`, ...args)])
  return Object.fromEntries(calls) as StoreCalls
}

export function remotePuller(line: Line): VolumePuller {
  return { pull: (...args) => line.call('pull', ...args) as ReturnType<VolumePuller['pull']> }
}
