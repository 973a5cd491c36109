import { createCipheriv } from 'node:crypto'

/** Bytes of a block's tag. */
export const TAG_BYTES = 16
/** Bytes of the key that tags are made with. */
export const TAG_KEY_BYTES = 16

const CIPHER = 'aes-128-gcm'
/**
 * Always the same.
 * Reusing a nonce tells a reader of several tags something about the key, but tags never leave this host's disk.
 * They are only compared for equality.
 */
const NONCE = Buffer.alloc(12)

/**
 * Returns the tag of a block's content and its SHA-256 together.
 * It is a GMAC (NIST SP 800-38D) under a secret key, some six times as fast as SHA-256, and a universal hash.
 * Two different pairs, chosen without knowing the key, have the same tag with a probability below 2^-108 for the
 * largest block. The lengths are part of the tag.
 */
export function tagOf(key: Uint8Array, content: Uint8Array, hash: Uint8Array): Buffer {
  const cipher = createCipheriv(CIPHER, key, NONCE)
  cipher.setAAD(content)
  cipher.update(hash)
  cipher.final()
  return cipher.getAuthTag()
}
