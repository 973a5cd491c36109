import { isUnwritable } from '../../sys/failure.ts'
import type { Context } from '../context.ts'
import { stateUnwritable } from '../errors.ts'
import { ownLabel } from '../own-host.ts'
import { troubleOf } from '../trouble.ts'

/**
 * Returns what `work` comes to.
 * An error of a disk that cannot be written becomes STATE_UNWRITABLE, and the disk is probed.
 */
export async function explainUnwritable<T>(
  context: Pick<Context, 'dependencies' | 'hosts' | 'stateDisk'>,
  name: string,
  work: Promise<T>,
): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (!isUnwritable(error)) throw error
    context.stateDisk.suspect(error)
    throw stateUnwritable(name, ownLabel(context), troubleOf(error, context.dependencies.clock.now()))
  }
}
