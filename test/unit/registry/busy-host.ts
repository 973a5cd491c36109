import { describeHost } from '../../../agent/mobility/lease/heartbeat.ts'
import type { HostRecord } from '../../../agent/model/model.ts'
import type { LocalCopy } from '../../../agent/store/contract.ts'
import { HeldKit, ID } from '../mobility/held-kit.ts'
import { hostRecord } from './records.ts'

/** How many volumes the busy host holds. */
export const BUSY_VOLUMES = 20_000
const LONG = 'stack_service-with-a-long-name.1.abcdefghijklmnopqrstuvwxy'

/** Returns the heartbeat of a host that holds many volumes, and whose lists are as long as they get. */
export async function busyHeartbeat(): Promise<HostRecord> {
  const kit = await HeldKit.start(1)
  const { context, store } = kit.host('h1')
  const copy = await store.copy(ID)
  if (copy === null) throw new Error('the kit holds no volume')
  const tree = { name: 'd', epoch: 1, base: null, at: '2026-01-01T00:00:00Z', bytes: 1 }
  const copies = Array.from({ length: BUSY_VOLUMES }, (_, n): LocalCopy => {
    const id = `01J${String(n).padStart(23, '0')}`
    return { ...copy, id, name: `volume-${n}`, diverged: [tree], damaged: ['x'.repeat(4_000)] }
  })
  const trouble = { code: 'DISK_FULL' as const, text: 'x'.repeat(4_000), since: '2026-01-01T00:00:00Z' }
  const troubles = Object.fromEntries(copies.slice(0, 50).map(({ id }) => [id, trouble]))
  const users = Object.fromEntries(copies.slice(0, 2_000).map(({ name }) => [name, [LONG]]))
  const namesakes = Object.assign(Object.create(context.namesakes), {
    names: Array.from({ length: 100 }, (_, n) => `${n}`.padStart(255, 'x')),
  })
  const covered = { epoch: 7, seq: 1_000, hash: 'f'.repeat(64), at: '2026-01-01T00:00:00.000Z' }
  const busy = {
    ...context,
    namesakes,
    containerUses: Object.assign(Object.create(context.containerUses), { live: () => [LONG], referrers: () => users }),
    checkpointScheduler: Object.assign(Object.create(context.checkpointScheduler), {
      covered: () => covered,
      late: () => troubles,
    }),
    releaseTroubles: Object.assign(Object.create(context.releaseTroubles), { all: () => troubles }),
  }
  const heartbeat = { ...hostRecord('h1', '2026-01-01T00:00:00Z'), ...describeHost(busy, copies) }
  kit.stop()
  return heartbeat
}
