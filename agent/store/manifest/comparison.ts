import type { BytePath } from './byte-path.ts'
import { sameAttributes } from './entry.ts'
import { joinManifests } from './join.ts'
import type { Manifest } from './manifest.ts'

/**
 * Returns the first path at which two trees differ; null: they are the same.
 * NOCOW does not count, see `sameAttributes`.
 */
export function firstDifference(wanted: Manifest, is: Manifest): BytePath | null {
  if (wanted.hash === is.hash) return null
  for (const { a, b } of joinManifests(wanted, is)) {
    if (a < 0) return is.path(b)
    if (b < 0 || wanted.kind(a) !== is.kind(b)) return wanted.path(a)
    if (wanted.sameRecord(a, is, b)) continue
    if (!sameButContent(wanted, a, is, b) || !sameContent(wanted, a, is, b)) return wanted.path(a)
  }
  return null
}

/** Whether two entries of the same kind and path agree in all but a file's size and content. */
export function sameButContent(wanted: Manifest, a: number, is: Manifest, b: number): boolean {
  const [x, y] = [wanted.body(a), is.body(b)]
  if (x.kind === 'link') return y.kind === 'link' && wanted.path(x.to) === is.path(y.to)
  if (y.kind === 'link' || !sameAttributes(x, y)) return false
  if (x.kind === 'symlink') return y.kind === 'symlink' && x.target === y.target
  if ('major' in x) return 'major' in y && x.major === y.major && x.minor === y.minor
  return true
}

function sameContent(wanted: Manifest, a: number, is: Manifest, b: number): boolean {
  if (wanted.kind(a) !== 'file') return true
  const [should, does] = [wanted.file(a), is.file(b)]
  return should.sizeBytes === does.sizeBytes && should.hash.equals(does.hash)
}
