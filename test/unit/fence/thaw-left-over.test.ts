import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import type { FreezeEnd } from '../../../agent/fence/contract.ts'
import { Freezer, type FreezerFile, type FreezerFiles } from '../../../agent/fence/freezer.ts'
import { openFreezerFiles } from '../../../agent/fence/freezer-files.ts'
import { systemClock } from '../../../agent/runtime/clock.ts'
import { untilTrue } from '../until.ts'
import { ControlGroup } from './control-group.ts'
import { LONG_MS, quietLog, start } from './freezer-kit.ts'

const showing = (id: string, state: string) => ({ users: async () => [{ id, name: 'c', state, volumes: [] }] })

/** Freezers that cannot be thawed while `are.stuck`. */
function stuckFiles(files: FreezerFiles, are: { stuck: boolean }): FreezerFiles {
  const wrap = (file: FreezerFile): FreezerFile => ({
    ...file,
    set: (frozen) => {
      if (are.stuck && !frozen) throw new Error('EIO')
      file.set(frozen)
    },
  })
  return { ...files, open: async (id) => wrap(await files.open(id)) }
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
    const listening = Object.assign(Object.create(quietLog), {
      error: (about: { container: string }) => errors.push(about.container),
    })
    await ground.thawLeftOver(showing(container, 'running'), { files: stuckFiles(ground.files, are), log: listening })
    t.true(ground.group.isFrozen())
    t.deepEqual(await ground.notes.read(), [container])
    t.deepEqual(errors, [container])
    const files = openFreezerFiles(other.root)
    await using meanwhile = new AsyncDisposableStack()
    const freezer = meanwhile.use(new Freezer({ files, notes: ground.notes, clock: systemClock, log: quietLog }))
    const ended = Promise.withResolvers<FreezeEnd>()
    const frozen = () => freezer.thaw('2')
    freezer.freeze({ id: '2', containers: [other.container], budgetMs: LONG_MS }, () => {}, frozen, ended.resolve)
    await ended.promise
    t.deepEqual(await ground.notes.read(), [container], 'a freeze of another container does not end its note')
    are.stuck = false
    await ground.group.runs()
    await untilTrue(async () => (await ground.notes.read()).length === 0)
    t.deepEqual(errors, [container], 'logged once')
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
    using freezer = new Freezer({ files, notes: ground.notes, clock: systemClock, log: quietLog })
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
