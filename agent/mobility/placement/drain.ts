import type { VolumeRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import type { DrainView } from '../contract.ts'
import { othersWith } from '../failover/sound-candidates.ts'
import { isNewest } from '../record/copies.ts'
import { RECONCILE } from '../wakeups.ts'
import { isDraining, placementHostsFor } from './hosts.ts'
import type { PlacementHost } from './placement-host.ts'
import { placeCopies } from './policy.ts'
import { whyBusy } from './surplus.ts'

/**
 * Starts or ends the drain of this host, and returns which copies are still here and why.
 * The flag is durable on return and outlives the agent. The copies leave in the background, each when enough others
 * are current.
 * May be repeated, which shows the progress. REGISTRY_UNAVAILABLE: the flag is set all the same.
 */
export async function drainHost(
  context: Pick<
    Context,
    'dependencies' | 'hosts' | 'wakeups' | 'copyManager' | 'containerUses' | 'node' | 'pendingMounts'
  >,
  on: boolean,
): Promise<DrainView> {
  const { drainFlag, log, self } = context.dependencies
  if (drainFlag.get() !== on) {
    await drainFlag.set(on)
    log.info({ on }, on ? 'drain started' : 'drain ended')
    context.wakeups.wake(RECONCILE)
  }
  const draining = isDraining(context)
  return { host: context.hosts.label(self.id), draining, left: draining ? await listLeft(context) : [] }
}

async function listLeft(
  context: Pick<Context, 'dependencies' | 'hosts' | 'copyManager' | 'containerUses' | 'node' | 'pendingMounts'>,
): Promise<DrainView['left']> {
  const { registry, store } = context.dependencies
  const records = (await registry.volumes()).map(({ value }) => value).filter(({ removedAt }) => removedAt === null)
  const hosts = placementHostsFor(context, records)
  const { copies } = await store.copies()
  const left = copies.map((local) => {
    const record = records.find(({ id }) => id === local.id)
    return {
      volume: local.name,
      why: record === undefined ? 'the registry does not know it' : whyLeft(context, record, local, hosts),
    }
  })
  return left.sort((a, b) => (a.volume < b.volume ? -1 : 1))
}

function whyLeft(
  context: Pick<Context, 'dependencies' | 'hosts' | 'copyManager' | 'containerUses' | 'pendingMounts'>,
  record: VolumeRecord,
  local: LocalCopy,
  hosts: readonly PlacementHost[],
): string {
  const { self } = context.dependencies
  if (record.holder?.host === self.id) {
    const users = context.containerUses.live(record.name)
    return users.length > 0 ? `in use here by container ${users.join(', ')}` : 'held here, about to be released'
  }
  const busy = whyBusy(context, record.name, local)
  if (busy !== null) return busy
  if (record.copies[self.id] === undefined) return 'pre-seeded, goes when nobody asks for it'
  const wanted = placeCopies(record, hosts)
  if (wanted.length === 0) return `no other host can take it: ${whyNone(context, hosts)}`
  const waiting = wanted.filter((host) => !isNewest(record, record.copies[host]) || !context.hosts.alive(host))
  if (waiting.length === 0) return describeComparing(context, record)
  const names = waiting.map((host) => context.hosts.labelWithAge(host)).join(', ')
  return `waits until the newest checkpoint is complete on ${names}`
}

/** This takes moments, or as long as another host needs to read its whole copy. */
function describeComparing(
  context: Pick<Context, 'dependencies' | 'hosts'>,
  { holder, last, copies }: VolumeRecord,
): string {
  const others = holder !== null || last === null ? [] : othersWith(context, { copies }, last)
  if (others.length === 0) return 'about to go'
  const names = others.map((host) => context.hosts.label(host)).join(', ')
  return [
    `waits until the copies on ${names} were compared with the newest checkpoint;`,
    'an older version of Wherry cannot',
  ].join(' ')
}

function whyNone(context: Pick<Context, 'dependencies' | 'hosts'>, hosts: readonly PlacementHost[]): string {
  const others = hosts.filter(({ id }) => id !== context.dependencies.self.id)
  if (others.length === 0) return 'there is none'
  const reasons = others.map((host) => {
    const why = host.gone ? 'gone' : host.draining ? 'drained as well' : 'too little free space'
    return `${context.hosts.label(host.id)}: ${why}`
  })
  return reasons.join('; ')
}
