import type { Dependencies } from '../../agent/mobility/dependencies.ts'
import { WherryError } from '../../agent/model/errors.ts'
import { isFromNewer, withoutNewer } from '../fake/newer-version.ts'
import type { Machine } from './machine.ts'
import { replaceMethods, withReading } from './replace-methods.ts'

/** An older version drops the fields of records that it does not know. */
export function dropFromRecords(parts: Dependencies, machine: Machine): Dependencies {
  if (machine.newer) return parts
  const { registry } = parts
  const updateVolume: typeof registry.updateVolume = (record, revision) =>
    registry.updateVolume(withoutNewer(record), revision)
  return { ...parts, registry: replaceMethods(registry, { updateVolume }) }
}

/** An older version drops the fields of `volume.json` that it does not know. */
export function dropFromDisk(parts: Dependencies, { newer, disk }: Machine): Dependencies {
  const { rewrite } = disk
  if (!newer) disk.rewrite = (copy) => rewrite(withoutNewer(copy))
  return parts
}

/** An older version refuses records with fields that it does not know. */
export function refuseNewer(parts: Dependencies, machine: Machine): Dependencies {
  if (machine.newer) return parts
  const { registry } = parts
  return withReading(parts, async (name) => {
    const entry = await registry.volume(name)
    if (!isFromNewer(entry?.value)) return entry
    throw new WherryError('RECORD_INVALID', `The registry's record of ${name} cannot be understood.`)
  })
}
