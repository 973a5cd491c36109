import { z } from 'zod'
import { ERROR_STATUS, type ErrorCode } from '../../model/errors.ts'
import { requireReadable } from '../../model/format.ts'
import type { DamagedCopy, LocalCopy, RemovedCopy } from '../../store/contract.ts'
import { localCopyFields } from '../../store/disk/copy-schema.ts'
import type { Context } from '../context.ts'
import { malformedReply } from '../record/errors.ts'
import { otherHost } from './errors.ts'

/** Everything one host has on its disk. */
export interface Inventory {
  /** Id of the host. */
  readonly host: string
  readonly copies: readonly LocalCopy[]
  /** Ids of volumes that this host certainly holds: a write confirmed it, and its lease has run since. */
  readonly proven: readonly string[]
  /** Ids of volumes that it holds and that its watchdog guards. */
  readonly guarded: readonly string[]
  /** What its disk still has of removed volumes. */
  readonly removed: readonly RemovedCopy[]
  /** Copies whose directories cannot be understood. */
  readonly damaged: readonly DamagedCopy[]
}

/** Another host that may be asked for its inventory. */
export interface AskableHost {
  readonly label: string
  /** Ids of the hosts whose heartbeats name this address, most often one; none: it has no heartbeat. */
  readonly ids: readonly string[]
  readonly address: string
  readonly port: number
  /** Its heartbeat is renewed: it may hold volumes. */
  readonly alive: boolean
}

/** What a newer version adds is ignored, but for what checkpoints and options carry on. */
const errorCode = z.enum(Object.keys(ERROR_STATUS) as ErrorCode[]).catch('COPY_DAMAGED')
const copyMessage = z.object(localCopyFields)

const inventoryMessage: z.ZodType<Inventory> = z.object({
  host: z.string().min(1),
  copies: z.array(copyMessage),
  // Older agents do not send it.
  proven: z.array(z.string()).default([]),
  guarded: z.array(z.string()).default([]),
  removed: z
    .array(z.object({ id: z.string(), name: z.string(), directory: z.string(), until: z.string().nullable() }))
    .default([]),
  damaged: z.array(
    z.object({ path: z.string(), reason: z.string(), code: errorCode.optional(), name: z.string().optional() }),
  ),
})

/** Returns all other hosts, by their heartbeats and by the settings: a new registry knows no host. */
export function askableHosts(context: Pick<Context, 'dependencies' | 'hosts'>): AskableHost[] {
  const { self, peerAddresses } = context.dependencies
  const known = new Map<string, AskableHost>()
  for (const { address, port } of peerAddresses) {
    known.set(`${address} ${port}`, { label: address, ids: [], address, port, alive: false })
  }
  for (const { id, address, transferPort: port } of context.hosts.all()) {
    const before = known.get(`${address} ${port}`)
    known.set(`${address} ${port}`, {
      label: context.hosts.labelWithAge(id),
      ids: [...(before?.ids ?? []), id],
      address,
      port,
      alive: context.hosts.alive(id) || before?.alive === true,
    })
  }
  known.delete(`${self.address} ${self.transferPort}`)
  return [...known.values()]
}

/** Returns this host's inventory. */
export async function takeInventory(
  context: Pick<Context, 'dependencies' | 'lease' | 'guardedVolumes' | 'confirmed'>,
): Promise<Inventory> {
  const { copies, damaged } = await context.dependencies.store.copies()
  const removed = await context.dependencies.store.removed()
  const proven = context.lease.runs ? [...context.confirmed.keys()] : []
  const guarded = copies.filter((copy) => context.guardedVolumes.guards(copy)).map(({ id }) => id)
  return { host: context.dependencies.self.id, copies, proven, guarded, removed, damaged }
}

/**
 * Asks another host for its inventory. Copies in a format that this version cannot read are among the damaged.
 * Rejects as `Peers.ask`, REQUEST_INVALID when the reply is no inventory, and PEER_REFUSED when it is that of another
 * host than the one whose heartbeat names the address.
 */
export async function askInventory(
  context: Pick<Context, 'dependencies' | 'hosts'>,
  { label, ids, address, port }: AskableHost,
  signal: AbortSignal,
): Promise<Inventory> {
  const { peers, self } = context.dependencies
  const found = parseInventory(await peers.ask({ address, port }, { kind: 'inventory' }, signal), label)
  const { host } = found
  const isKnown = host === self.id || context.hosts.get(host) !== undefined
  if (ids.length === 0 ? isKnown : !ids.includes(host)) throw otherHost(label, context.hosts.label(host))
  return found
}

/** Parses an inventory, as `askInventory`. `from`: label of the host that sent it. */
export function parseInventory(value: unknown, from: string): Inventory {
  const { readable, skewed } = sortCopies(value)
  const found = inventoryMessage.safeParse(readable)
  if (found.success) return { ...found.data, damaged: [...found.data.damaged, ...skewed] }
  throw malformedReply(from, 'its copies', found.error)
}

function sortCopies(value: unknown): { readable: unknown; skewed: Inventory['damaged'] } {
  const list = z
    .object({ copies: z.array(z.unknown()) })
    .loose()
    .safeParse(value).data
  if (list === undefined) return { readable: value, skewed: [] }
  const skewed: DamagedCopy[] = []
  const copies = list.copies.filter((copy) => {
    const { id, name } = z.object({ id: z.string().max(64), name: z.string() }).safeParse(copy).data ?? {}
    const path = `volumes/${id}`
    try {
      requireReadable(copy, path)
      return true
    } catch (error) {
      skewed.push({ path, reason: (error as Error).message, code: 'VERSION_SKEW', name })
      return false
    }
  })
  return { readable: { ...list, copies }, skewed }
}
