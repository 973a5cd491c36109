import { WherryError } from '../model/errors.ts'

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
