import { WherryError } from '../../../../agent/model/errors.ts'
import type { Attributes } from '../../../../agent/store/manifest/entry.ts'
import type { Manifest } from '../../../../agent/store/manifest/manifest.ts'
import { parseManifest } from '../../../../agent/store/manifest/parser.ts'
import type { Body } from '../../../../agent/store/manifest/record-codec.ts'
import { build } from './trees.ts'

export const PLAIN: Attributes = { mode: 0o755, uid: 1, gid: 2, mtimeNs: 5n, flags: 0, xattrs: [] }
export const HASH = Buffer.alloc(32, 0xab)

export const dir = (more: object = {}): Body => ({ kind: 'dir', ...PLAIN, ...more })
export const file = (more: object = {}): Body => ({ kind: 'file', ...PLAIN, sizeBytes: 1, hash: HASH, ...more })

/** A manifest of these entries by their paths, in tree order, below a plain root. */
export function manifestWith(...entries: readonly (readonly [string, Body])[]): Manifest {
  return build([{ path: '', body: dir() }, ...entries.map(([path, body]) => ({ path, body }))])
}

/** Decodes: null when it is refused as it should be. Any other error fails the test. */
export async function decoded(data: Buffer): Promise<Manifest | null> {
  try {
    return await parseManifest(data)
  } catch (error) {
    if (error instanceof WherryError && error.code === 'MANIFEST_INVALID') return null
    throw error
  }
}
