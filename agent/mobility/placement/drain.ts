import type { VolumeRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import type { DrainView } from '../contract.ts'
import { othersWith } from '../failover/sound-candidates.ts'
import { isNewest } from '../record/copies.ts'
import { RECONCILE } from '../wakeups.ts'
import { isDraining, placementHosts } from './hosts.ts'
import { type PlacementHost, placeCopies } from './policy.ts'
import { whyBusy } from './surplus.ts'

/**
 * Notes that this host's copies are to leave (or no longer), and says which are still here and why. The wish is durable on return and outlives the agent;
 * the copies leave in the background, each when enough others are current. May be repeated, which shows how far it is. REGISTRY_UNAVAILABLE: the wish is noted all the same.
 */
export async function drainHost(core: Context, on: boolean): Promise<DrainView> {
  const { drainWish, log, self } = core.parts
  if (drainWish.get() !== on) {
    await drainWish.set(on)
    log.info({ on }, on ? "this host's copies are to leave" : 'this host may have copies again')
    core.wakes.wake(RECONCILE)
  }
  const draining = isDraining(core)
  return { host: core.hosts.label(self.id), draining, left: draining ? await listLeft(core) : [] }
}

async function listLeft(core: Context): Promise<DrainView['left']> {
  const { registry, store } = core.parts
  const records = (await registry.volumes()).map(({ value }) => value).filter(({ removedAt }) => removedAt === null)
  const hosts = placementHosts(core, records)
  const { copies } = await store.copies()
  const left = copies.map((local) => {
    const record = records.find(({ id }) => id === local.id)
    return {
      volume: local.name,
      why: record === undefined ? 'the registry does not know it' : whyLeft(core, record, local, hosts),
    }
  })
  return left.sort((a, b) => (a.volume < b.volume ? -1 : 1))
}

function whyLeft(core: Context, record: VolumeRecord, local: LocalCopy, hosts: readonly PlacementHost[]): string {
  const { self } = core.parts
  if (record.holder?.host === self.id) {
    const users = core.uses.live(record.name)
    return users.length > 0 ? `in use here by container ${users.join(', ')}` : 'held here, about to be released'
  }
  const busy = whyBusy(core, record.name, local)
  if (busy !== null) return busy
  if (record.copies[self.id] === undefined) return 'sent ahead, goes when nobody asks for it'
  const wanted = placeCopies(record, hosts)
  if (wanted.length === 0) return `no other host can take it: ${whyNone(core, hosts)}`
  const waiting = wanted.filter((host) => !isNewest(record, record.copies[host]) || !core.hosts.alive(host))
  if (waiting.length === 0) return describeComparing(core, record)
  const names = waiting.map((host) => core.hosts.labelWithAge(host)).join(', ')
  return `waits until the newest checkpoint is complete on ${names}`
}

/** This takes moments, or as long as another host needs to read its whole copy again. */
function describeComparing(core: Context, { holder, last, copies }: VolumeRecord): string {
  const others = holder !== null || last === null ? [] : othersWith(core, { copies }, last)
  if (others.length === 0) return 'about to go'
  const names = others.map((host) => core.hosts.label(host)).join(', ')
  return `waits until the copies on ${names} were compared with the newest checkpoint; an older version of Wherry cannot`
}

function whyNone(core: Context, hosts: readonly PlacementHost[]): string {
  const others = hosts.filter(({ id }) => id !== core.parts.self.id)
  if (others.length === 0) return 'there is none'
  const reasons = others.map((host) => {
    const why = host.gone ? 'gone' : host.draining ? 'drained as well' : 'too little free space'
    return `${core.hosts.label(host.id)}: ${why}`
  })
  return reasons.join('; ')
}
