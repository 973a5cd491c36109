import { isDeepStrictEqual } from 'node:util'
import type { Checkpoint } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'

/** Whether no container uses the volume here. Uses that have ended without a write to this disk do not count. */
export function isUnused(
  context: Pick<Context, 'endedUses'>,
  { id, mounts }: Pick<LocalCopy, 'id' | 'mounts'>,
): boolean {
  return Object.keys(mounts).length === 0 || isDeepStrictEqual(context.endedUses.get(id), mounts)
}

/** Whether another host was just allowed to end this host's hold. */
export function isSurrendered(context: Pick<Context, 'surrendered' | 'dependencies'>, id: string): boolean {
  return (context.surrendered.get(id)?.untilMs ?? Number.NEGATIVE_INFINITY) > context.dependencies.clock.elapsedMs()
}

/** Returns the last tree of a surrendered hold, which other hosts may pull; null: there is none. */
export function finalTree(context: Pick<Context, 'surrendered'>, local: LocalCopy): Checkpoint | null {
  const surrendered = context.surrendered.get(local.id)
  return surrendered?.incarnation === local.held?.incarnation ? (surrendered?.final ?? null) : null
}

/** Returns the number of the next checkpoint of a held volume. */
export function nextSeq(
  context: Pick<Context, 'givenSeqs'>,
  { id, checkpoint }: Pick<LocalCopy, 'id' | 'checkpoint'>,
): number {
  return Math.max(checkpoint?.seq ?? 0, context.givenSeqs.get(id) ?? 0) + 1
}
