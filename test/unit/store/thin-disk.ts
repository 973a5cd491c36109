import { execFileSync, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { temporaryDirectory } from './fixture.ts'
import { fillDisk } from './full-disk.ts'

const IMAGE_MIB = 100
/** The image and a few blocks. */
const BACKING_MIB = 108

/** A disk that can be made to take data it cannot write out, as a thin volume on a full pool does. */
export interface ThinDisk {
  /** Where it is mounted. */
  readonly path: string
  /**
   * From now on, what goes to blocks that were free is lost when it is written out, long after write(2) succeeded.
   */
  fail(): void
  /** Has everything written out by somebody else, who is told of errors; true: it was told one. */
  othersSync(): boolean
  mend(): void
  /** Mounts it anew: what is read then is what is on the disk. */
  remount(): void
}

/** An ext4 whose metadata is there and whose free blocks lie in a tmpfs that has room for them, or has not. */
export async function thinDisk(t: ExecutionContext): Promise<ThinDisk> {
  const base = await temporaryDirectory(t)
  const run = (script: string) => execFileSync('sh', ['-ec', script], { cwd: base, stdio: 'pipe' })
  run('mkdir backing disk')
  run(`mount -t tmpfs -o size=${BACKING_MIB}M tmpfs backing`)
  t.teardown(() => {
    execFileSync('umount', ['--recursive', join(base, 'disk')])
    // Lazily: whoever looks at all loop devices just now has this one open, and its image with it.
    execFileSync('umount', ['--lazy', join(base, 'backing')])
  })
  run(`dd if=/dev/zero of=backing/image bs=1M count=${IMAGE_MIB} status=none`)
  run('mkfs.ext4 -q -b 4096 -O ^has_journal -E nodiscard,lazy_itable_init=0 backing/image')
  const mount = 'mount -o loop backing/image disk'
  run(mount)
  run('fstrim disk')
  const path = join(base, 'disk')
  return {
    path,
    fail: () => fillDisk(join(base, 'backing', 'foreign')),
    othersSync: () => spawnSync('sync', ['-f', path]).status !== 0,
    mend: () => run('rm -f backing/foreign'),
    remount: () => run(`umount disk; ${mount}`),
  }
}
