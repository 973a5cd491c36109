import { WherryError } from '../model/errors.ts'

/** Its keys are names, those of the other buckets are ids. */
export const VOLUMES_BUCKET = 'wherry_volumes'

/** Characters that stay as they are in a key. All others become `=` and two hex digits per byte. */
const PLAIN = /[A-Za-z0-9_-]/

/**
 * Turns a volume's name or an id into a key of a JetStream bucket. No two names share a key.
 * A dot is encoded, too: it would split the key's subject. NAME_INVALID: the name is empty.
 */
export function toKey(name: string): string {
  if (name === '') throw new WherryError('NAME_INVALID', 'The registry has no entry with an empty name.')
  let key = ''
  for (const char of name) {
    if (PLAIN.test(char)) key += char
    else for (const byte of Buffer.from(char)) key += `=${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return key
}

/** Returns the name from which `toKey` made a key. */
export function fromKey(key: string): string {
  return Buffer.from(
    key.replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  ).toString('utf8')
}

/**
 * Requires that a stored record is that of its key: a volume has its name, a host and a tombstone their id.
 * A record that says that it is another one would count as that one.
 */
export function requireOwnKey(bucket: string, key: string, stored: unknown): void {
  const { id, name } = Object(stored) as { readonly id?: unknown; readonly name?: unknown }
  const own = bucket === VOLUMES_BUCKET ? name : id
  if (own !== key) throw new Error(`it is the record of ${String(own)}`)
}
