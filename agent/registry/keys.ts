import { WherryError } from '../model/errors.ts'

/**
 * Characters that a key may hold as they are.
 * Others are written as `=` and two hex digits per byte; a dot would split the key's subject.
 */
const PLAIN = /[A-Za-z0-9_-]/

/**
 * Encodes a volume's name or an id as a key of a JetStream bucket; no two names share a key.
 * Throws NAME_INVALID for an empty one.
 */
export function toKey(name: string): string {
  if (name === '') throw new WherryError('NAME_INVALID', 'The empty name names nothing in the registry.')
  let key = ''
  for (const char of name) {
    if (PLAIN.test(char)) key += char
    else for (const byte of Buffer.from(char)) key += `=${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return key
}

/** Returns the name that a key was made from. */
export function fromKey(key: string): string {
  return Buffer.from(
    key.replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  ).toString('utf8')
}
