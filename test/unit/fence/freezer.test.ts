import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import test from 'ava'
import { ControlGroup } from './control-group.ts'
import { LONG_MS, start } from './freezer-kit.ts'

const run = promisify(execFile)

for (const version of ['v1', 'v2'] as const) {
  test.serial(
    `control groups ${version}: a container is frozen until it is thawed, and a note says so meanwhile`,
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

  test.serial(`promise 13, control groups ${version}: it runs again at the end of the budget`, async (t) => {
    await using ground = await start(version)
    const { end, thaw } = await ground.freeze(100)
    const { why, frozenMs } = await end
    t.is(why, 'budget')
    t.true(Number(frozenMs) > 0)
    await ground.group.runs()
    thaw()
    await ground.group.runs()
  })

  test.serial(
    `promise 13, control groups ${version}: a process that reads the freezer finds that it runs, and ends the freeze`,
    async (t) => {
      await using ground = await start(version)
      const { end } = await ground.freeze(LONG_MS)
      t.true(await ground.group.standsStill())
      // As runc does before it runs a command, pauses or resumes.
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
    `control groups ${version}: a container that ends while frozen cuts the freeze; one that is gone has no freezer`,
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
    `promise 11, control groups ${version}: what a process left frozen is thawed by the next, unless Docker paused it`,
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

test.serial(
  'promise 13: a command that is announced ends a freeze, and the next one waits until it has passed',
  async (t) => {
    await using ground = await start('v1')
    const { container } = ground.group
    const { end } = await ground.freeze(LONG_MS)
    ground.freezer.commandAnnounced(container)
    t.is((await end).why, 'command')
    await ground.group.runs()
    ground.freezer.commandAnnounced(container)
    const later = ground.freeze(LONG_MS)
    await sleep(100)
    t.false(ground.group.isFrozen(), 'it is expected any moment')
    ground.freezer.commandStarted(container)
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
      if (!ground.group.isFrozen()) ground.freezer.commandAnnounced(ground.group.container)
    }, 100)
    ground.freezer.commandAnnounced(ground.group.container)
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
