import { WherryError } from '../model/errors.ts'

/** Runs one request to the engine. ENGINE_UNREACHABLE: it failed; the message names `what` was asked. */
export async function ask<T>(what: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    throw new WherryError('ENGINE_UNREACHABLE', `The Docker engine did not answer (${what}: ${messageOf(error)}).`, {
      hint: [
        'Check that the engine runs and that its socket is mounted into the plugin',
        '(docker plugin set ... docker.source=PATH).',
      ].join(' '),
      cause: error,
    })
  }
}

/** Returns the HTTP status of the engine's response; undefined: there was none. */
export function statusOf(error: unknown): number | undefined {
  return (error as { statusCode?: number }).statusCode
}

/** For `catch`: returns null if the engine does not have the object, and throws all other errors. */
export function nullIfGone(error: unknown): null {
  if (statusOf(error) === 404) return null
  throw error
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
