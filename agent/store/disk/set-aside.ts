import { lstat, mkdir, readFile, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { codeOf, WherryError } from '../../model/errors.ts'
import { requireReadable } from '../../model/format.ts'
import { removeDurably, syncDirectory, UNFINISHED, writeDurably } from '../../runtime/durable-file.ts'
import type { FaultPoint } from '../../runtime/fault-point.ts'
import { errnoOf } from '../../sys/failure.ts'
import type { DivergedTree, LocalCopy } from '../contract.ts'
import { changeFlags } from '../inode/flags.ts'
import { removeIfThere } from '../inode/removal.ts'
import { savedPaths } from '../snapshot/saved-snapshot.ts'
import { makeTree } from './copy-records.ts'
import { divergedTree } from './copy-schema.ts'
import type { Layout } from './layout.ts'

const VERSION = 1
const INTENT = divergedTree.extend({ version: z.literal(VERSION), name: z.string().regex(/^[0-9a-z-]+$/i) })

export interface DivergeParts {
  readonly layout: Layout
  readonly update: (change: Partial<Omit<LocalCopy, 'id'>>) => Promise<LocalCopy>
  readonly faultPoint: FaultPoint
}

/**
 * Sets a copy's tree aside. `at`: ISO 8601; `bytes`: size of the tree, if known.
 * The intent is written first (DIVERGE), then come renames that may be repeated, then the record is changed.
 * After a crash in between `finishDiverge` finishes it.
 */
export async function diverge(
  parts: DivergeParts,
  copy: LocalCopy,
  at: string,
  bytes: number | null,
): Promise<LocalCopy> {
  const { layout, faultPoint } = parts
  const begun = await intended(layout)
  if (begun !== null) return await putAside(parts, copy, begun)
  const base = copy.checkpoint === null ? null : { epoch: copy.checkpoint.epoch, seq: copy.checkpoint.seq }
  const epoch = copy.held?.epoch ?? base?.epoch ?? copy.epochSeen
  const name = await freeName(layout, [epoch, base?.seq ?? 0, at.replaceAll(/[^0-9a-z]/gi, '')].join('-'))
  const tree: DivergedTree = { name, epoch, base, at, bytes }
  await writeDurably(intentPath(layout), [Buffer.from(JSON.stringify({ version: VERSION, ...tree }))])
  faultPoint('diverge-begun')
  return await putAside(parts, copy, tree)
}

/** Finishes what a crash cut off; returns the copy as it is then. */
export async function finishDiverge(parts: DivergeParts, copy: LocalCopy): Promise<LocalCopy> {
  const tree = await intended(parts.layout)
  return tree === null ? copy : await putAside(parts, copy, tree)
}

async function putAside({ layout, update, faultPoint }: DivergeParts, copy: LocalCopy, tree: DivergedTree) {
  const place = placeOf(layout, tree.name)
  if (!(await isThere(join(place, 'data')))) {
    await mkdir(place, { recursive: true, mode: 0o700 })
    await describe(layout, copy, tree)
    faultPoint('diverge-described')
    await moveTree(layout.data, join(place, 'data'))
  }
  faultPoint('diverge-moved')
  for (const path of savedPaths(layout.directory)) {
    await moveIfThere(path, join(place, path.slice(layout.directory.length + 1)))
  }
  await syncDirectory(place)
  faultPoint('diverge-kept-moved')
  // Before there is an empty tree: that must never be mounted as the checkpoint.
  const diverged = [...copy.diverged.filter(({ name }) => name !== tree.name), tree]
  const changed = await update({ diverged, held: null, checkpoint: null, damaged: null, applying: false, mounts: {} })
  faultPoint('diverge-recorded')
  if (!(await isThere(layout.data))) {
    const unfinished = `${layout.data}${UNFINISHED}`
    await removeIfThere(unfinished)
    await makeTree(unfinished, copy.options)
    await rename(unfinished, layout.data)
  }
  await syncDirectory(layout.directory)
  faultPoint('diverge-emptied')
  await removeDurably(intentPath(layout))
  faultPoint('diverge-ended')
  return changed
}

/** Writes a description beside the tree, for operators alone. */
async function describe(layout: Layout, copy: LocalCopy, tree: DivergedTree): Promise<void> {
  const { id, name, options, checkpoint, held } = copy
  const text = JSON.stringify({ version: VERSION, volume: { id, name, options }, ...tree, checkpoint, held }, null, 2)
  await writeDurably(join(placeOf(layout, tree.name), 'tree.json'), [Buffer.from(`${text}\n`)])
  await syncDirectory(layout.diverged)
  await syncDirectory(layout.directory)
}

async function freeName(layout: Layout, wanted: string): Promise<string> {
  for (let nth = 2, name = wanted; ; name = `${wanted}-${nth++}`) {
    if (!(await isThere(placeOf(layout, name)))) return name
  }
}

async function moveTree(from: string, to: string): Promise<void> {
  try {
    await rename(from, to)
  } catch (error) {
    // An immutable or append-only root directory cannot be moved.
    if (errnoOf(error) !== 'EPERM') throw error
    changeFlags(Buffer.from(from), 0)
    await rename(from, to)
  }
  await syncDirectory(dirname(to))
}

async function moveIfThere(from: string, to: string): Promise<void> {
  try {
    await rename(from, to)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
  }
}

async function intended(layout: Layout): Promise<DivergedTree | null> {
  let text: string
  try {
    text = await readFile(intentPath(layout), 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
  try {
    const value: unknown = JSON.parse(text)
    requireReadable(value, intentPath(layout))
    const { version: _, ...tree } = INTENT.parse(value)
    return tree
  } catch (error) {
    if (codeOf(error) === 'VERSION_SKEW') throw error
    throw new WherryError('COPY_DAMAGED', `${intentPath(layout)} cannot be understood.`, {
      hint: `Check whether the tree is in ${layout.data} or below ${layout.diverged}, then remove the file.`,
      cause: error,
    })
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw error
  }
}

function placeOf(layout: Layout, name: string): string {
  return join(layout.diverged, name)
}

function intentPath(layout: Layout): string {
  return join(layout.directory, 'DIVERGE')
}
