import { WherryError } from '../model/errors.ts'

/** Runs one request to the engine. Rejects ENGINE_UNREACHABLE with `what` was asked, however it failed. */
export async function ask<T>(what: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    throw new WherryError('ENGINE_UNREACHABLE', `The Docker engine did not answer (${what}: ${messageOf(error)}).`, {
      hint:
        'Check that the engine runs and that its socket is mounted into the plugin (docker plugin set ... ' +
        'docker.source=PATH).',
      cause: error,
    })
  }
}

/** Returns the HTTP status of the engine's reply; undefined when none came. */
export function statusOf(error: unknown): number | undefined {
  return (error as { statusCode?: number }).statusCode
}

/** For `catch`: null for an object that the engine does not have (any more). */
export function nullIfGone(error: unknown): null {
  if (statusOf(error) === 404) return null
  throw error
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
