import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import type { Engine } from '../../../agent/docker/contract.ts'
import type { FreezeEnd } from '../../../agent/fence/contract.ts'
import { Freezer } from '../../../agent/fence/freezer.ts'
import { openFreezerFiles } from '../../../agent/fence/freezer-files.ts'
import { openFrozenNotes } from '../../../agent/fence/frozen-notes.ts'
import { thawLeftOver } from '../../../agent/fence/thaw-left-over.ts'
import { systemClock } from '../../../agent/runtime/clock.ts'
import { ControlGroup, type GroupVersion } from './control-group.ts'

export const LONG_MS = 60_000
export const quietLog = pino({ level: 'silent' })

/** A freezer over a control group of this machine's kernel. */
export async function start(version: GroupVersion) {
  const stack = new AsyncDisposableStack()
  const group = stack.use(await ControlGroup.make(version))
  const stateDir = await mkdtemp(join(tmpdir(), 'wherry-freezer-'))
  stack.defer(() => rm(stateDir, { recursive: true, force: true }))
  const files = openFreezerFiles(group.root)
  const notes = await openFrozenNotes(stateDir)
  const freezer = stack.use(new Freezer({ files, notes, clock: systemClock, log: quietLog }))
  let last = 0
  /** Resolves when the container is frozen, or the freeze has ended before. */
  const freeze = async (budgetMs: number, container = group.container) => {
    const id = String(++last)
    const ended = Promise.withResolvers<FreezeEnd>()
    const still = Promise.withResolvers<void>()
    freezer.freeze({ id, containers: [container], budgetMs }, () => {}, still.resolve, ended.resolve)
    await Promise.race([still.promise, ended.promise])
    return { end: ended.promise, thaw: () => freezer.thaw(id) }
  }
  const note = join(stateDir, 'frozen.json')
  /** Leaves a note as a process that was killed while a container was frozen. */
  const leave = async (container: string) => (await openFrozenNotes(stateDir)).write('1', [container])
  const stop = new AbortController()
  stack.defer(() => stop.abort())
  const parts = { files, notes, freezer, clock: systemClock, log: quietLog, signal: stop.signal }
  const thawing = (engine: Pick<Engine, 'users'>, others: Partial<typeof parts> = {}) =>
    thawLeftOver({ ...parts, engine, ...others })
  return {
    group,
    freezer,
    freeze,
    files,
    notes,
    note,
    leave,
    thawLeftOver: thawing,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}
