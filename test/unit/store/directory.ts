import { execFileSync } from 'node:child_process'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'

/** A directory on a real file system that goes away with the test. */
export async function directory(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'wherry-store-'))
  // Node's own rm cannot remove names that are not UTF-8.
  t.teardown(() => execFileSync('rm', ['-rf', path]))
  return path
}
