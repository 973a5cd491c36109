import { closeSync } from 'node:fs'
import { join } from 'node:path'
import { WherryError } from '../../model/errors.ts'
import { errnoOf } from '../../sys/failure.ts'
import { FLAG_NOCOW } from '../../sys/flags.ts'
import { StatBuffer, statAt } from '../../sys/stat.ts'
import { makeInode, setAttributes } from '../inode/attributes.ts'
import { at, openRoot } from '../inode/directory.ts'
import { changeFlags } from '../inode/flags.ts'
import { attributesAt, type InodeBody } from '../inode/inode.ts'
import { removeIfThere } from '../inode/removal.ts'
import { printable } from '../manifest/byte-path.ts'
import { sameAttributes } from '../manifest/entry.ts'
import type { Plan } from '../manifest/plan.ts'
import { isMarkedAt, mtimeRestAt, mtimeSecondsAt } from '../manifest/record-codec.ts'

/** In the copy's own directory, beside the tree: on the same file system. */
const NAME = 'rehearsal'

/**
 * Tries in `directory` what this host's file system could refuse of a plan.
 * It makes one entry of each kind with each set of xattr names (the largest) and of inode flags, with the oldest
 * and the newest time. A tree that cannot be held here must be refused before the old one is touched.
 * TREE_UNSUPPORTED: names an entry that was refused.
 */
export async function probeSupport(plan: Plan, directory: string): Promise<void> {
  const path = join(directory, NAME)
  await removeIfThere(path)
  const held = openRoot(directory)
  try {
    for (const [index, body] of samples(plan)) {
      tryOut(plan, index, body, held)
      await removeIfThere(path)
    }
  } finally {
    closeSync(held)
    await removeIfThere(path)
  }
}

/** Removes what a crash has left of a probe. */
export async function dropProbe(directory: string): Promise<void> {
  await removeIfThere(join(directory, NAME))
}

function tryOut(plan: Plan, index: number, body: InodeBody, directory: number): void {
  const place = at(directory, NAME)
  const stat = new StatBuffer()
  try {
    makeInode(place, body)
    setAttributes(place, body)
    if ((body.flags & ~FLAG_NOCOW) !== 0) changeFlags(place, body.flags & ~FLAG_NOCOW)
    statAt(directory, NAME, stat)
    if (!sameAttributes(attributesAt(directory, NAME, stat, false), body)) throw unsupported(plan, index)
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === undefined || errno === 'ENOSPC' || errno === 'EDQUOT') throw error
    throw unsupported(plan, index, error)
  }
}

/**
 * Chooses the entries to try. What stays as it is needs no trial: this file system holds it already.
 * Most entries have nothing special and are not even decoded.
 */
function samples(plan: Plan): Map<number, InodeBody> {
  const { target } = plan
  const chosen = new Map<string, number>()
  const [oldest, newest] = [new Extreme((a, b) => a < b), new Extreme((a, b) => a > b)]
  for (const index of plan.all('attributes', 'blocks', 'file', 'make')) {
    const kind = target.kind(index)
    const at = target.offset(index)
    oldest.offer(index, mtimeSecondsAt(target.buffer, at), mtimeRestAt(target.buffer, at))
    newest.offer(index, mtimeSecondsAt(target.buffer, at), mtimeRestAt(target.buffer, at))
    if (isMarkedAt(target.buffer, at)) offerMarked(plan, index, chosen)
    else if (!chosen.has(kind)) chosen.set(kind, index)
  }
  const indexes = [...chosen.values(), oldest.index, newest.index].filter((index) => index >= 0)
  const bodies = indexes.map((index) => [index, target.body(index)] as const)
  return new Map(bodies.flatMap(([index, body]) => (body.kind === 'link' ? [] : [[index, body]])))
}

/** The entry with the oldest or the newest time. */
class Extreme {
  index = -1
  #seconds = 0
  #restNs = 0
  readonly #beats: (a: number, b: number) => boolean

  constructor(beats: (a: number, b: number) => boolean) {
    this.#beats = beats
  }

  offer(index: number, seconds: number, restNs: number): void {
    if (this.index >= 0 && !this.#beats(seconds, this.#seconds)) {
      if (seconds !== this.#seconds || !this.#beats(restNs, this.#restNs)) return
    }
    this.index = index
    this.#seconds = seconds
    this.#restNs = restNs
  }
}

/**
 * Offers one entry for each kind with each set of xattr names (the largest), and one for each with each set of
 * flags.
 */
function offerMarked(plan: Plan, index: number, chosen: Map<string, number>): void {
  const body = plan.target.body(index)
  if (body.kind === 'link') return
  const names = `${body.kind} ${body.xattrs.map(([name]) => name).join()}`
  const known = chosen.get(names)
  const other = known === undefined ? null : plan.target.body(known)
  if (known === undefined || (other?.kind !== 'link' && other !== null && xattrSize(other) < xattrSize(body))) {
    chosen.set(names, index)
  }
  const flags = `${body.kind} flags ${body.flags}`
  if (body.flags !== 0 && !chosen.has(flags)) chosen.set(flags, index)
}

function xattrSize(body: InodeBody): number {
  return body.xattrs.reduce((sum, [, value]) => sum + value.length, 0)
}

function unsupported(plan: Plan, index: number, cause?: unknown): WherryError {
  const why = errnoOf(cause)
  const reason = why === undefined ? '' : ` (${why})`
  const path = printable(plan.target.path(index))
  const what = `This host's file system cannot hold ${path} as it is on the other host${reason}.`
  return new WherryError('TREE_UNSUPPORTED', what, {
    hint: 'Use the same kind of file system on all hosts, and the capabilities of the plugin as shipped.',
    cause,
  })
}
