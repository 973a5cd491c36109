import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import type { Tracker } from '../../../../agent/store/tracker/contract.ts'
import { openTracker } from '../../../../agent/store/tracker/tracker.ts'
import { fileSystem } from '../file-systems.ts'

const ROOT = new URL('../../../../', import.meta.url).pathname
export const OBJECT = join(ROOT, 'build/dirty.bpf.o')

/** Compiles the program if need be: `scripts/setup` does the same. */
export function buildObject(): string {
  execFileSync(join(ROOT, 'scripts/lib/build-tracker'), [OBJECT])
  return OBJECT
}

/** A file system with a directory that is mounted twice. */
export function mountTwice(
  t: ExecutionContext,
  kind: 'ext4' | 'xfs',
): { readonly directory: string; readonly other: string; readonly root: string } {
  const root = fileSystem(t, kind, { inMemory: true })
  const [directory, other] = [join(root, 'tree'), join(root, 'other')]
  mkdirSync(directory)
  mkdirSync(other)
  execFileSync('mount', ['--bind', directory, other])
  return { directory, other, root }
}

/** The same with a tracker on it. */
export function openTracked(
  t: ExecutionContext,
  kind: 'ext4' | 'xfs',
  options: { readonly dropEvery?: number } = {},
): ReturnType<typeof mountTwice> & { readonly tracker: Tracker } {
  const mounted = mountTwice(t, kind)
  const tracker = mustOpen(mounted.root, options)
  t.teardown(() => tracker[Symbol.dispose]())
  return { ...mounted, tracker }
}

export function mustOpen(directory: string, options: { readonly dropEvery?: number } = {}): Tracker {
  const opened = openTracker(directory, buildObject(), options)
  if ('reason' in opened) throw new Error(opened.reason)
  return opened.tracker
}

export function scratchDirectory(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'wherry-tracker-'))
  t.teardown(() => execFileSync('rm', ['-rf', directory]))
  return directory
}
