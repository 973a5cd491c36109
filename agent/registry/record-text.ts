import { z } from 'zod'
import { codeOf, WherryError } from '../model/errors.ts'
import { requireReadable } from '../model/format.ts'
import type { Versioned } from './contract.ts'
import { requireOwnKey } from './keys.ts'

/**
 * Reads the text that a bucket has under a name.
 * VERSION_SKEW: only a newer release can read it. RECORD_INVALID: it cannot be understood, or is not believed.
 */
export function parseRecord<T>(
  bucket: { readonly name: string; readonly schema: z.ZodType<T> },
  name: string,
  text: string,
  revision: number,
): Versioned<T> {
  try {
    const value: unknown = JSON.parse(text)
    requireReadable(value, `The registry's record of ${name}`)
    requireOwnKey(bucket.name, name, value)
    return { value: bucket.schema.parse(value), revision }
  } catch (cause) {
    if (codeOf(cause) === 'VERSION_SKEW') throw cause
    const where = `bucket ${bucket.name}, revision ${revision}`
    const disbelief = disbeliefOf(cause)
    if (disbelief !== null) {
      throw new WherryError('RECORD_INVALID', `The registry's record of ${name} (${where}) is forged: ${disbelief}`, {
        hint: 'Another host wrote over it: find out which one has lost its key (docs/security.md).',
        cause,
      })
    }
    throw new WherryError('RECORD_INVALID', `The registry's record of ${name} (${where}) cannot be understood.`, {
      hint: 'It was changed by hand, or a newer Wherry wrote it: bring all hosts to the same version.',
      cause,
    })
  }
}

/** Why a record that can be understood is not believed (host-seal.ts); null: it cannot be understood. */
function disbeliefOf(error: unknown): string | null {
  const [first] = error instanceof z.ZodError ? error.issues : []
  return first?.code === 'custom' ? first.message : null
}
