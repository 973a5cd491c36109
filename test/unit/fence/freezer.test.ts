import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import test from 'ava'
import { pino } from 'pino'
import { systemClock } from '../../../agent/clock.ts'
import type { Engine } from '../../../agent/docker/contract.ts'
import type { FreezeEnd } from '../../../agent/fence/contract.ts'
import { Freezer, type FreezerFile, type FreezerFiles } from '../../../agent/fence/freezer.ts'
import { openFreezerFiles } from '../../../agent/fence/freezer-files.ts'
import { openFrozenNotes } from '../../../agent/fence/frozen-notes.ts'
import { thawLeftOver } from '../../../agent/fence/thaw-left-over.ts'
import { until } from '../until.ts'
import { ControlGroup, type GroupVersion } from './control-group.ts'

const LONG_MS = 60_000
const run = promisify(execFile)
const log = pino({ level: 'silent' })

async function start(version: GroupVersion) {
  const stack = new AsyncDisposableStack()
  const group = stack.use(await ControlGroup.make(version))
  const stateDir = await mkdtemp(join(tmpdir(), 'wherry-freezer-'))
  stack.defer(() => rm(stateDir, { recursive: true, force: true }))
  const files = openFreezerFiles(group.root)
  const notes = await openFrozenNotes(stateDir)
  const freezer = stack.use(new Freezer({ files, notes, clock: systemClock, log }))
  let last = 0
  /** Resolves when it stands still, or has ended before that. */
  const freeze = async (budgetMs: number, container = group.container) => {
    const id = String(++last)
    const ended = Promise.withResolvers<FreezeEnd>()
    const still = Promise.withResolvers<void>()
    freezer.freeze({ id, containers: [container], budgetMs }, () => {}, still.resolve, ended.resolve)
    await Promise.race([still.promise, ended.promise])
    return { end: ended.promise, thaw: () => freezer.thaw(id) }
  }
  const note = join(stateDir, 'frozen.json')
  /** A process before this one was killed while a container was frozen. */
  const leave = async (container: string) => (await openFrozenNotes(stateDir)).write('1', [container])
  const stop = new AbortController()
  stack.defer(() => stop.abort())
  const parts = { files, notes, freezer, clock: systemClock, log, signal: stop.signal }
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

for (const version of ['v1', 'v2'] as const) {
  test.serial(
    `control groups ${version}: a container stands still until it is let go on, and a note says so meanwhile`,
    async (t) => {
      await using ground = await start(version)
      const { end, thaw } = await ground.freeze(LONG_MS)
      t.true(await ground.group.standsStill())
      t.true(existsSync(ground.note))
      thaw()
      t.like(await end, { why: null })
      await ground.group.runs()
      await ground.notes.read()
      t.false(existsSync(ground.note))
    },
  )

  test.serial(
    `promise 13, control groups ${version}: it runs again when the budget is over, whoever asked`,
    async (t) => {
      await using ground = await start(version)
      const { end, thaw } = await ground.freeze(100)
      const { why, frozenMs } = await end
      t.is(why, 'budget')
      t.true(Number(frozenMs) > 0)
      await ground.group.runs()
      thaw()
      await ground.group.runs()
    },
  )

  test.serial(
    `promise 13, control groups ${version}: whoever looks whether it is paused finds that it runs, and ends the freeze`,
    async (t) => {
      await using ground = await start(version)
      const { end } = await ground.freeze(LONG_MS)
      t.true(await ground.group.standsStill())
      // As runc does before it runs a command, pauses or lets go on.
      const { stdout } = await run('cat', [ground.group.file])
      t.is(stdout.trim(), ground.group.word(false))
      t.is((await end).why, 'command')
      await ground.group.runs()
    },
  )

  test.serial(
    `promise 13, control groups ${version}: what somebody else has frozen is not thawed, and noticed when they thaw it`,
    async (t) => {
      await using ground = await start(version)
      ground.group.set(true)
      const first = await ground.freeze(LONG_MS)
      t.deepEqual(await ground.notes.read(), [], 'a process after this one would thaw it')
      first.thaw()
      t.is((await first.end).why, null)
      t.true(ground.group.isFrozen())
      const second = await ground.freeze(LONG_MS)
      ground.group.set(false)
      await ground.group.runs()
      second.thaw()
      t.is((await second.end).why, 'changed')
    },
  )

  test.serial(
    `control groups ${version}: a container that ends while it is frozen spoils the freeze; one that is gone has no freezer`,
    async (t) => {
      await using ground = await start(version)
      await using other = await ControlGroup.make(version)
      const { end, thaw } = await ground.freeze(LONG_MS)
      await ground.group.end()
      thaw()
      t.is((await end).why, 'changed')
      const late = await ground.freeze(LONG_MS)
      t.like(await late.end, { why: 'failed', frozenMs: null })
      const foreign = await ground.freeze(LONG_MS, other.container)
      t.regex((await foreign.end).error?.message ?? '', /cannot be frozen .*it has no control group there/)
      await other.runs()
    },
  )

  test.serial(
    `promise 11, control groups ${version}: what a process has left frozen is thawed by the next one, but for what Docker shows as paused`,
    async (t) => {
      await using ground = await start(version)
      const { container } = ground.group
      for (const state of ['paused', 'running']) {
        ground.group.set(true)
        await ground.leave(container)
        const engine = { users: async () => [{ id: container, name: 'c', state, volumes: [] }] }
        await ground.thawLeftOver(engine)
        t.is(ground.group.isFrozen(), state === 'paused')
        t.deepEqual(await ground.notes.read(), [])
      }
      await ground.leave(container)
      ground.group.set(true)
      const away = { users: () => new Promise<never>(() => {}) }
      await ground.thawLeftOver(away)
      await ground.group.runs()
      t.pass()
    },
  )
}

const showing = (id: string, state: string) => ({ users: async () => [{ id, name: 'c', state, volumes: [] }] })

/** Freezers that cannot be thawed while `are.stuck`. */
function stuckFiles(files: FreezerFiles, are: { stuck: boolean }): FreezerFiles {
  const bend = (file: FreezerFile): FreezerFile => ({
    ...file,
    set: (frozen) => {
      if (are.stuck && !frozen) throw new Error('EIO')
      file.set(frozen)
    },
  })
  return { ...files, open: async (id) => bend(await files.open(id)) }
}

test.serial(
  'promise 11: what was left frozen and cannot be thawed stays noted, and is tried again until it runs',
  async (t) => {
    await using ground = await start('v2')
    await using other = await ControlGroup.make('v2')
    const { container } = ground.group
    ground.group.set(true)
    await ground.leave(container)
    await ground.notes.write('1', [])
    await ground.leave(container)
    const are = { stuck: true }
    const errors: string[] = []
    const listening = Object.assign(Object.create(log), {
      error: (about: { container: string }) => errors.push(about.container),
    })
    await ground.thawLeftOver(showing(container, 'running'), { files: stuckFiles(ground.files, are), log: listening })
    t.true(ground.group.isFrozen())
    t.deepEqual(await ground.notes.read(), [container])
    t.deepEqual(errors, [container])
    const files = openFreezerFiles(other.root)
    await using meanwhile = new AsyncDisposableStack()
    const freezer = meanwhile.use(new Freezer({ files, notes: ground.notes, clock: systemClock, log }))
    const ended = Promise.withResolvers<FreezeEnd>()
    const frozen = () => freezer.thaw('2')
    freezer.freeze({ id: '2', containers: [other.container], budgetMs: LONG_MS }, () => {}, frozen, ended.resolve)
    await ended.promise
    t.deepEqual(await ground.notes.read(), [container], 'a freeze of another container does not end its note')
    are.stuck = false
    await ground.group.runs()
    await until(async () => (await ground.notes.read()).length === 0)
    t.deepEqual(errors, [container], 'said once')
  },
)

test.serial(
  'promise 11: a container that was left frozen and has no freezer is gone only when the engine says so',
  async (t) => {
    await using ground = await start('v2')
    const ended = 'e'.repeat(64)
    for (const [users, stays] of [
      [showing(ended, 'running'), true],
      [{ users: () => Promise.reject(new Error('away')) }, true],
      [showing(ended, 'exited'), false],
      [{ users: async () => [] }, false],
    ] as const) {
      await ground.leave(ended)
      const stop = new AbortController()
      const notes = {
        read: ground.notes.read,
        write: (_: string, left: readonly string[]) => ground.notes.write('left over', left),
      }
      await ground.thawLeftOver(users, { notes, signal: stop.signal })
      stop.abort()
      t.deepEqual(await ground.notes.read(), stays ? [ended] : [])
    }
  },
)

test.serial('promise 11: a plugin that ends before it could thaw a container leaves it to the next one', async (t) => {
  await using ground = await start('v2')
  const { container } = ground.group
  const files = stuckFiles(ground.files, { stuck: true })
  const still = Promise.withResolvers<void>()
  {
    using freezer = new Freezer({ files, notes: ground.notes, clock: systemClock, log })
    const request = { id: '1', containers: [container], budgetMs: LONG_MS }
    freezer.freeze(
      request,
      () => {},
      still.resolve,
      () => {},
    )
    await still.promise
  }
  await sleep(100)
  t.true(ground.group.isFrozen())
  t.deepEqual(await ground.notes.read(), [container])
  await ground.thawLeftOver(showing(container, 'running'))
  await ground.group.runs()
})

test.serial('what may open a freezer waits for the end of a freeze, and a freeze waits for it', async (t) => {
  await using ground = await start('v2')
  const { end, thaw } = await ground.freeze(LONG_MS)
  let runs = 0
  await ground.freezer.whileIdle(async () => void runs++)
  t.is(runs, 0)
  thaw()
  await end
  const opening = Promise.withResolvers<void>()
  const working = ground.freezer.whileIdle(() => opening.promise)
  const later = ground.freeze(LONG_MS)
  await sleep(50)
  t.false(ground.group.isFrozen())
  opening.resolve()
  await working
  await later
  t.true(ground.group.isFrozen())
})

test.serial(
  'promise 13: a command that is announced ends a freeze, and the next one waits until it has passed',
  async (t) => {
    await using ground = await start('v1')
    const { container } = ground.group
    const { end } = await ground.freeze(LONG_MS)
    ground.freezer.announced(container)
    t.is((await end).why, 'command')
    await ground.group.runs()
    ground.freezer.announced(container)
    const later = ground.freeze(LONG_MS)
    await sleep(100)
    t.false(ground.group.isFrozen(), 'it is expected any moment')
    ground.freezer.started(container)
    const { thaw, end: second } = await later
    t.true(await ground.group.standsStill())
    thaw()
    t.is((await second).why, null)
  },
)

test.serial(
  'promise 13: commands that are announced all the time delay a freeze, and do not keep it from coming',
  async (t) => {
    await using ground = await start('v1')
    const timer = setInterval(() => {
      if (!ground.group.isFrozen()) ground.freezer.announced(ground.group.container)
    }, 100)
    ground.freezer.announced(ground.group.container)
    const later = ground.freeze(LONG_MS)
    await sleep(900)
    clearInterval(timer)
    const { thaw, end } = await later
    thaw()
    t.is((await end).why, null)
  },
)

test.serial('another freeze ends the one before', async (t) => {
  await using ground = await start('v2')
  const first = await ground.freeze(LONG_MS)
  const second = await ground.freeze(LONG_MS)
  t.is((await first.end).why, 'replaced')
  t.true(await ground.group.standsStill())
  first.thaw()
  t.true(await ground.group.standsStill())
  second.thaw()
  t.is((await second.end).why, null)
})
