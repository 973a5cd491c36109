import { isDeepStrictEqual } from 'node:util'
import type { Checkpoint } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'

/**
 * Whether the volume has no use here: none by this disk, or only uses that are over and that this disk could not be
 * told of.
 */
export function isUnused(core: Pick<Context, 'endedUses'>, { id, mounts }: Pick<LocalCopy, 'id' | 'mounts'>): boolean {
  return Object.keys(mounts).length === 0 || isDeepStrictEqual(core.endedUses.get(id), mounts)
}

/** Whether another host was allowed, a moment ago, to end this host's hold. */
export function isSurrendered(core: Pick<Context, 'surrendered' | 'dependencies'>, id: string): boolean {
  return (core.surrendered.get(id)?.untilMs ?? Number.NEGATIVE_INFINITY) > core.dependencies.clock.elapsedMs()
}

/** A tree that a surrendering holder left, and that other hosts may fetch; null: none. */
export function finalTree(core: Pick<Context, 'surrendered'>, local: LocalCopy): Checkpoint | null {
  const surrendered = core.surrendered.get(local.id)
  return surrendered?.incarnation === local.held?.incarnation ? (surrendered?.final ?? null) : null
}

/** The number of the next checkpoint of a held volume. */
export function nextSeq(
  core: Pick<Context, 'givenSeqs'>,
  { id, checkpoint }: Pick<LocalCopy, 'id' | 'checkpoint'>,
): number {
  return Math.max(checkpoint?.seq ?? 0, core.givenSeqs.get(id) ?? 0) + 1
}
