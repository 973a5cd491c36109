import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { mustOpen, OBJECT, openTracked } from './fixture.ts'
import { Followed } from './live.ts'

const CHECKS = 60
const LIVE_ROUNDS_MAX = 4
const HOLDER = new URL('holder.ts', import.meta.url).pathname

for (const kind of ['ext4', 'xfs'] as const) {
  for (const mode of ['mmap', 'mixed']) {
    test.serial(`${kind}: a program that writes on (${mode}) is followed without a full read`, async (t) => {
      const { tracker, directory } = openTracked(t, kind)
      const followed = await Followed.start(t, directory, mode, 7)
      let rounds = 0
      for (let check = 0; check < CHECKS; check += 1) {
        for (let live = 0; live < 1 + (check % LIVE_ROUNDS_MAX); live += 1) {
          await followed.follow(tracker, { live: true })
          rounds += 1
        }
        t.deepEqual(await followed.check(tracker), [], `check ${check}`)
      }
      t.log(`${rounds} rounds while it wrote, ${CHECKS} checks with it stopped`)
      // The first round of each file.
      t.is(followed.nulls, 3)
      t.is(tracker.stats.losses, 0)
      await followed.end()
    })
  }

  test.serial(
    `${kind}: killed and opened anew while a program writes, it says null first and is right then`,
    async (t) => {
      const { tracker, directory, root } = openTracked(t, kind)
      tracker[Symbol.dispose]()
      const followed = await Followed.start(t, directory, 'mixed', 3)
      for (let life = 0; life < 3; life += 1) {
        // Another process has had a tracker and is killed: nothing of it is left to be asked.
        const holder = spawn(process.execPath, [HOLDER, root, OBJECT, directory], {
          stdio: ['ignore', 'pipe', 'inherit'],
        })
        const [said] = await once(holder.stdout, 'data')
        t.is(String(said).trim(), 'watching')
        holder.kill('SIGKILL')
        await once(holder, 'exit')
        using next = mustOpen(root)
        followed.since = 0
        followed.nulls = 0
        await followed.follow(next, { live: true })
        t.is(followed.nulls, 3)
        for (let round = 0; round < 10; round += 1) {
          await followed.follow(next, { live: true })
          t.deepEqual(await followed.check(next), [])
          await sleep(2)
        }
        t.is(followed.nulls, 3)
      }
      await followed.end()
    },
  )
}
