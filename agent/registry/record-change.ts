import type { RemovedRecord, VolumeRecord } from '../model/model.ts'
import type { RecordChange, Versioned } from './contract.ts'

/** Describes the change of a volume's record; null: there is none. */
export function volumeChange(
  name: string,
  before: VolumeRecord | null,
  entry: Versioned<VolumeRecord> | null,
): RecordChange {
  const hosts = [before, entry?.value ?? null].flatMap((record) => (record === null ? [] : hostsOf(record)))
  return { name, hosts: [...new Set(hosts)], entry }
}

/** Describes the change of a tombstone. Null: neither is there, and any volume may be meant. */
export function removedChange(before: RemovedRecord | null, after: RemovedRecord | null): RecordChange | null {
  const name = (after ?? before)?.name
  const hosts = [...(before?.hosts ?? []), ...(after?.hosts ?? [])]
  return name === undefined ? null : { name, hosts: [...new Set(hosts)] }
}

/** Returns the hosts that a record names: the holder, and those with copies. */
function hostsOf({ copies, holder }: VolumeRecord): string[] {
  return [...Object.keys(copies), ...(holder === null ? [] : [holder.host])]
}
