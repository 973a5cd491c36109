import type { Checkpoint, VolumeRecord } from '../../agent/model/model.ts'
import type { LocalCopy } from '../../agent/store/contract.ts'
import { canWrite } from './containers.ts'
import type { SimWorld } from './world.ts'

/** Whether one checkpoint comes before another one. */
export function isBelow(one: Checkpoint, other: Checkpoint): boolean {
  return one.epoch < other.epoch || (one.epoch === other.epoch && one.seq < other.seq)
}

/** Whether the record names a copy elsewhere: a holder without one is never fenced. */
export function isGuarded({ copies }: VolumeRecord, holder: string): boolean {
  return Object.entries(copies).some(([host, copy]) => host !== holder && copy.seq > 0)
}

/** The id of a container that can write the volume on that host; null: there is none. */
export function writerOn({ machine }: SimWorld, host: string, id: string): string | null {
  return machine(host).containers.all.find((one) => one.mountedId === id && canWrite(one))?.id ?? null
}

/** Whether an idle copy at the record's newest checkpoint was set aside. */
export function isLastSetAside({ last }: VolumeRecord, before: LocalCopy, after: LocalCopy): boolean {
  if (before.held !== null || after.diverged.length <= before.diverged.length) return false
  return before.checkpoint !== null && before.checkpoint.hash === last?.hash
}
