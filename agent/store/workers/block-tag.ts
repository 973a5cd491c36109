import { createCipheriv } from 'node:crypto'

/** Bytes of a block's tag. */
export const TAG_BYTES = 16
/** Bytes of the key that tags are made with. */
export const TAG_KEY_BYTES = 16

const CIPHER = 'aes-128-gcm'
/**
 * Always the same: a nonce used twice would tell whoever sees several tags something about the key, but tags are shown to nobody. All
 * that is asked of them is whether two are equal.
 */
const NONCE = Buffer.alloc(12)

/**
 * Tag of a block's content and its SHA-256 together: GMAC (NIST SP 800-38D) under a secret key, some six times as fast as SHA-256. It is a
 * universal hash: two different pairs, chosen by somebody who does not know the key, have the same tag with a
 * probability below 2^-108 for the largest block. The lengths are part of it.
 */
export function tagOf(key: Uint8Array, content: Uint8Array, hash: Uint8Array): Buffer {
  const cipher = createCipheriv(CIPHER, key, NONCE)
  cipher.setAAD(content)
  cipher.update(hash)
  cipher.final()
  return cipher.getAuthTag()
}
