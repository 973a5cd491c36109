import type { VolumeRecord } from '../../model/model.ts'
import { nullOnAbort } from '../../runtime/abort.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import type { HostView } from '../contract.ts'
import { notFound } from '../errors.ts'
import { untilAnswered } from '../record/update-record.ts'
import type { VolumeView } from '../volume-view.ts'
import { readDisk, type ViewContext, viewHosts, viewVolume } from './view.ts'

/** The copies of this disk; as they were read last while it cannot be read. */
export type CopyReader = () => Promise<readonly LocalCopy[]>

/** Docker waits for a list of volumes, which is worth more than the hosts' names in it. */
const HEAR_MS = 1_000

/**
 * Returns a volume's record as the registry has it, or as it was last read (`stale`).
 * Waits for a registry that is away until `signal` aborts (promise 10). Rejects VOLUME_NOT_FOUND.
 */
export async function findVolume(
  context: Pick<Context, 'dependencies'>,
  name: string,
  signal: AbortSignal,
): Promise<{ readonly record: VolumeRecord; readonly stale: boolean }> {
  const { cache, clock, signal: stopping } = context.dependencies
  const { entry, stale } = await untilAnswered(clock, () => cache.get(name), AbortSignal.any([signal, stopping]))
  if (entry === null || entry.value.removedAt !== null) throw notFound(name)
  return { record: entry.value, stale }
}

/** Returns one volume as operators and Docker see it. */
export async function readVolumeView(
  context: ViewContext,
  readCopies: CopyReader,
  record: VolumeRecord,
  stale: boolean,
): Promise<VolumeView> {
  return viewVolume(context, record, await readDisk(context, await readCopies()), stale)
}

/** Returns all volumes, by the registry or as they were last read. */
export async function readVolumeViews(context: ViewContext, readCopies: CopyReader): Promise<VolumeView[]> {
  const { entries, stale } = await context.dependencies.cache.list()
  await readHostNames(context)
  const disk = await readDisk(context, await readCopies())
  return entries
    .filter(({ value }) => value.removedAt === null)
    .map(({ value }) => viewVolume(context, value, disk, stale))
}

/** Returns all hosts whose heartbeat was ever read. */
export async function readHostViews(
  context: Pick<Context, 'dependencies' | 'hosts' | 'stateDisk'>,
): Promise<HostView[]> {
  await readHostNames(context)
  return viewHosts(context)
}

/**
 * Reads the heartbeats if none was read since the agent started, so that hosts have names.
 * So it does until this host's own was passed on, up to a second after its first renewal.
 */
export async function readHostNames(context: Pick<Context, 'dependencies' | 'hosts'>): Promise<void> {
  const { registry, clock, self } = context.dependencies
  if (!context.hosts.isEmpty && context.hosts.get(self.id) !== undefined) return
  const found = await nullOnAbort(
    registry.hosts().catch(() => null),
    clock.deadline(HEAR_MS),
  )
  if (found !== null) context.hosts.see(found)
}
