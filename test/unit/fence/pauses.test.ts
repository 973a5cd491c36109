import { mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { pino } from 'pino'
import type { Pause } from '../../../agent/fence/contract.ts'
import { openPauses } from '../../../agent/fence/pauses.ts'
import { engineUnreachable } from '../../fake/engine.ts'
import { MemoryEngine } from '../../fake/memory-engine.ts'

async function start() {
  const stateDir = await mkdtemp(join(tmpdir(), 'wherry-pauses-'))
  const engine = new MemoryEngine()
  return {
    stateDir,
    engine,
    /** Opens the pauses as another process. `replies`: what the engine replies to that one. */
    open: (replies: Partial<Pick<MemoryEngine, 'users' | 'finishedAt' | 'unpause'>> = {}) =>
      openPauses({
        stateDir,
        engine: {
          users: replies.users ?? (() => engine.users()),
          finishedAt: replies.finishedAt ?? ((id) => engine.finishedAt(id)),
          pause: (id) => engine.pause(id),
          unpause: replies.unpause ?? ((id) => engine.unpause(id)),
          kill: (id) => engine.kill(id),
        },
        log: pino({ level: 'silent' }),
      }),
    [Symbol.asyncDispose]: () => rm(stateDir, { recursive: true, force: true }),
  }
}

const wanted = (container: string, ...volumes: string[]): Pause => ({
  container,
  volumes: volumes.length === 0 ? ['v1'] : volumes,
})
const ofFirst = ({ volumes }: Pause) => volumes.includes('v1')
const any = () => true

test('paused containers are resumed by the process that opens the notes next, and then forgotten', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  ground.engine.run('b')
  const pauses = await ground.open()
  const both = [wanted('a'), wanted('b')]
  t.deepEqual(await pauses.pause(both), both)
  t.deepEqual([ground.engine.stateOf('a'), ground.engine.stateOf('b')], ['paused', 'paused'])
  const next = await ground.open()
  t.is((await next.all()).length, 2)
  await next.resume(any)
  t.deepEqual([ground.engine.stateOf('a'), ground.engine.stateOf('b')], ['running', 'running'])
  t.deepEqual(await next.all(), [])
})

test('the note is there before the container is paused, and until it runs again', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  const pauses = await ground.open()
  const noted: string[] = []
  ground.engine.before = async (call) => {
    if (/pause/.test(call)) noted.push(`${call}: ${(await (await ground.open()).all()).length}`)
  }
  await pauses.pause([wanted('a')])
  await pauses.resume(any)
  t.deepEqual(noted, ['pause a: 1', 'unpause a: 1'])
})

test('a container that an operator had paused is neither noted nor paused nor resumed', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  ground.engine.set('a', 'paused')
  const pauses = await ground.open()
  t.deepEqual(await pauses.pause([wanted('a')]), [])
  t.deepEqual(await pauses.all(), [])
  await pauses.resume(any)
  t.deepEqual(ground.engine.calls, [])
})

test('a container that an operator pauses between the scan and the pause is left to the operator', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  const pauses = await ground.open()
  ground.engine.before = (call) => {
    if (call === 'pause a') ground.engine.set('a', 'paused')
  }
  t.deepEqual(await pauses.pause([wanted('a')]), [])
  t.deepEqual(await pauses.all(), [])
  await pauses.resume(any)
  t.is(ground.engine.stateOf('a'), 'paused')
})

test('killed after the note and before the pause: resuming touches nothing and forgets', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  const pauses = await ground.open()
  // The process never comes back from this call.
  ground.engine.before = (call) => (call === 'pause a' ? new Promise<void>(() => {}) : undefined)
  void pauses.pause([wanted('a')])
  while (!ground.engine.calls.includes('pause a')) await new Promise((resolve) => setTimeout(resolve, 5))
  ground.engine.before = () => {}
  const next = await ground.open()
  await next.resume(any)
  t.is(ground.engine.stateOf('a'), 'running')
  ground.engine.set('a', 'paused')
  await next.resume(any)
  t.is(ground.engine.stateOf('a'), 'paused', 'a later pause by an operator is not taken for ours')
})

test('a container that was restarted and then paused by an operator is not resumed by an old note', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  await (await ground.open()).pause([wanted('a')])
  ground.engine.restart('a')
  ground.engine.set('a', 'paused')
  const next = await ground.open()
  await next.resume(any)
  t.is(ground.engine.stateOf('a'), 'paused')
  t.deepEqual(await next.all(), [])
  await next.kill(any)
  t.is(ground.engine.stateOf('a'), 'paused')
})

test('a pause of another process for another volume stays when the first one ends', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  const [agent, watchdog] = [await ground.open(), await ground.open()]
  await agent.pause([wanted('a')])
  t.is((await watchdog.pause([wanted('a', 'v2')])).length, 1)
  await agent.resume(ofFirst)
  t.is(ground.engine.stateOf('a'), 'paused')
  await agent.resume(any)
  t.is(ground.engine.stateOf('a'), 'running')
})

test('a fence that is noted while another one is being resumed holds', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  const [agent, watchdog] = [await ground.open(), await ground.open()]
  await agent.pause([wanted('a')])
  ground.engine.before = async (call) => {
    if (call === 'unpause a') await watchdog.pause([wanted('a', 'v2')])
  }
  await agent.resume(ofFirst)
  t.is(ground.engine.stateOf('a'), 'paused')
  t.deepEqual(
    (await agent.all()).map(({ volumes }) => volumes),
    [['v2']],
  )
})

test('a fence that another process resumes before the pause is noted again, and can be resumed', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  const [agent, watchdog] = [await ground.open(), await ground.open()]
  let resumed = false
  ground.engine.before = async (call) => {
    if (call !== 'pause a' || resumed) return
    resumed = true
    await agent.resume(any)
  }
  await watchdog.pause([wanted('a')])
  t.is(ground.engine.stateOf('a'), 'paused')
  t.is((await agent.all()).length, 1)
  await agent.resume(any)
  t.is(ground.engine.stateOf('a'), 'running')
})

test('a fence that comes between the resume by its note and the removal of that note can be resumed', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  const fenced = Promise.withResolvers<void>()
  const agent = await ground.open({
    unpause: async (id) => {
      await ground.engine.unpause(id)
      resumed.resolve()
      await fenced.promise
    },
  })
  const resumed = Promise.withResolvers<void>()
  const watchdog = await ground.open()
  let resuming: Promise<void> | undefined
  ground.engine.before = async (call) => {
    if (call !== 'pause a' || resuming !== undefined) return
    resuming = agent.resume(any)
    await resumed.promise
  }
  await watchdog.pause([wanted('a')])
  fenced.resolve()
  await resuming
  t.is(ground.engine.stateOf('a'), 'paused')
  t.is((await agent.all()).length, 1)
  await agent.resume(any)
  t.is(ground.engine.stateOf('a'), 'running')
})

test('a fence that meets another one on its way, which then ends, keeps its note', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  const [agent, watchdog] = [await ground.open(), await ground.open()]
  const fenceComes = Promise.withResolvers<void>()
  const firstOver = Promise.withResolvers<void>()
  let fencing: Promise<unknown> | undefined
  ground.engine.before = async (call) => {
    if (call !== 'pause a') return
    if (fencing === undefined) {
      fencing = watchdog.pause([wanted('a', 'v2')])
      await fenceComes.promise
    } else {
      fenceComes.resolve()
      await firstOver.promise
    }
  }
  await agent.pause([wanted('a')])
  await agent.resume(ofFirst)
  firstOver.resolve()
  await fencing
  t.is(ground.engine.stateOf('a'), 'paused')
  t.deepEqual(
    (await agent.all()).map(({ volumes }) => volumes),
    [['v2']],
  )
})

test('a pause lasts until all its volumes are resumed', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  const pauses = await ground.open()
  await pauses.pause([wanted('a', 'v1', 'v2')])
  await pauses.resume(({ volumes }) => volumes.includes('v1'))
  t.is(ground.engine.stateOf('a'), 'paused')
  await pauses.resume(({ volumes }) => volumes.includes('v2'))
  t.is(ground.engine.stateOf('a'), 'running')
})

test('pauses of one container for several volumes at once: it runs again when all have ended', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  const pauses = await ground.open()
  const one = async (volume: string) => {
    await pauses.pause([wanted('a', volume)])
    t.is(ground.engine.stateOf('a'), 'paused')
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 5))
    t.is(ground.engine.stateOf('a'), 'paused')
    await pauses.resume(({ volumes }) => volumes.includes(volume))
  }
  for (let round = 0; round < 50; round++) await Promise.all([one('v1'), one('v2'), one('v3')])
  t.is(ground.engine.stateOf('a'), 'running')
  t.deepEqual(await pauses.all(), [])
})

test('a pause that scanned the container before another one resumed it pauses it again', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  const scanned = Promise.withResolvers<void>()
  const letGo = Promise.withResolvers<void>()
  let scans = 0
  const pauses = await ground.open({
    users: async () => {
      const seen = await ground.engine.users()
      if (++scans === 2) {
        scanned.resolve()
        await letGo.promise
      }
      return seen
    },
  })
  await pauses.pause([wanted('a', 'v1')])
  const second = pauses.pause([wanted('a', 'v2')])
  await scanned.promise
  await pauses.resume(({ volumes }) => volumes.includes('v1'))
  letGo.resolve()
  t.is((await second).length, 1)
  t.is(ground.engine.stateOf('a'), 'paused')
  await pauses.resume(({ volumes }) => volumes.includes('v2'))
  t.is(ground.engine.stateOf('a'), 'running')
})

test('a pause that is noted while the same process resumes another one can be resumed itself', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  const resuming = Promise.withResolvers<void>()
  let asked = 0
  const pauses = await ground.open({
    finishedAt: async () => {
      if (++asked === 1) await resuming.promise
      return null
    },
  })
  const slow = pauses.pause([wanted('a', 'v2')])
  while (asked === 0) await new Promise((resolve) => setTimeout(resolve, 1))
  ground.engine.before = async (call) => {
    if (call !== 'unpause a') return
    resuming.resolve()
    const byVolume = async () => (await pauses.all()).some(({ volumes }) => volumes.includes('v2'))
    while (!(await byVolume())) await new Promise((resolve) => setTimeout(resolve, 1))
  }
  await pauses.pause([wanted('a', 'v1')])
  await pauses.resume(({ volumes }) => volumes.includes('v1'))
  ground.engine.before = () => {}
  t.is((await slow).length, 1)
  t.is(ground.engine.stateOf('a'), 'paused')
  await pauses.resume(({ volumes }) => volumes.includes('v2'))
  t.is(ground.engine.stateOf('a'), 'running')
})

test('a fence noted while another is resumed keeps its note, although the container was paused for it', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  const watchdogLooked = Promise.withResolvers<void>()
  const resuming = Promise.withResolvers<void>()
  const fenceComes = Promise.withResolvers<void>()
  const pausedAnew = Promise.withResolvers<void>()
  const agent = await ground.open()
  const watchdog = await ground.open({
    finishedAt: async () => {
      watchdogLooked.resolve()
      await resuming.promise
      return null
    },
  })
  const fencing = watchdog.pause([wanted('a', 'v2')])
  await watchdogLooked.promise
  await agent.pause([wanted('a')])
  let calls = 0
  ground.engine.before = async (call) => {
    if (call === 'unpause a') {
      resuming.resolve()
      await fenceComes.promise
    }
    if (call === 'pause a' && ++calls === 1) {
      fenceComes.resolve()
      await pausedAnew.promise
    }
  }
  await agent.resume(ofFirst)
  ground.engine.before = () => {}
  pausedAnew.resolve()
  t.is((await fencing).length, 1)
  t.is(ground.engine.stateOf('a'), 'paused')
  t.deepEqual(
    (await agent.all()).map(({ volumes }) => volumes),
    [['v2']],
  )
  await agent.resume(any)
  t.is(ground.engine.stateOf('a'), 'running')
})

test('a container that cannot be paused rejects after the others were paused, and stays noted', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  ground.engine.run('b')
  const pauses = await ground.open()
  ground.engine.before = (call) => {
    if (call === 'pause a') throw engineUnreachable()
  }
  await t.throwsAsync(pauses.pause([wanted('a'), wanted('b')]), { code: 'ENGINE_UNREACHABLE' })
  t.is(ground.engine.stateOf('b'), 'paused')
  t.is((await pauses.all()).length, 2)
})

test('a resume that fails keeps the note, and is done by the next try', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  const pauses = await ground.open()
  await pauses.pause([wanted('a')])
  ground.engine.before = (call) => {
    if (call === 'unpause a') throw engineUnreachable()
  }
  await t.throwsAsync(pauses.resume(any), { code: 'ENGINE_UNREACHABLE' })
  ground.engine.before = () => {}
  await (await ground.open()).resume(any)
  t.is(ground.engine.stateOf('a'), 'running')
})

test('kill ends what is paused by us and no other', async (t) => {
  await using ground = await start()
  for (const id of ['a', 'b', 'c']) ground.engine.run(id)
  const pauses = await ground.open()
  await pauses.pause([wanted('a', 'v1'), wanted('b', 'v2')])
  await pauses.kill(({ volumes }) => volumes.includes('v1'))
  t.deepEqual(
    ['a', 'b', 'c'].map((id) => ground.engine.stateOf(id)),
    ['exited', 'paused', 'running'],
  )
  t.deepEqual(
    (await pauses.all()).map(({ container }) => container),
    ['b'],
  )
})

test('a fence comes although no note can be written, and one is written later', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  const pauses = await ground.open()
  const [boot = ''] = await readdir(join(ground.stateDir, 'pauses'))
  const directory = join(ground.stateDir, 'pauses', boot)
  await rm(directory, { recursive: true })
  await writeFile(directory, '')
  t.is((await pauses.pause([wanted('a')])).length, 1)
  t.is(ground.engine.stateOf('a'), 'paused')
  await rm(directory)
  const later = await ground.open()
  t.is((await pauses.pause([wanted('a')])).length, 1)
  await later.resume(any)
  t.is(ground.engine.stateOf('a'), 'running')
})

test('a fence without a note is noted when the pauses are next read, once that is possible', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  const pauses = await ground.open()
  const [boot = ''] = await readdir(join(ground.stateDir, 'pauses'))
  const directory = join(ground.stateDir, 'pauses', boot)
  await rm(directory, { recursive: true })
  await writeFile(directory, '')
  await pauses.pause([wanted('a', 'fence')])
  await t.throwsAsync(pauses.all())
  await rm(directory)
  const later = await ground.open()
  t.deepEqual(await later.all(), [])
  t.is((await pauses.all()).length, 1)
  await later.resume(any)
  t.is(ground.engine.stateOf('a'), 'running')
})

test('notes of another boot are void', async (t) => {
  await using ground = await start()
  ground.engine.run('a')
  await (await ground.open()).pause([wanted('a')])
  const [boot = ''] = await readdir(join(ground.stateDir, 'pauses'))
  await rename(join(ground.stateDir, 'pauses', boot), join(ground.stateDir, 'pauses', 'another-boot'))
  t.deepEqual(await (await ground.open()).all(), [])
  t.deepEqual(await readdir(join(ground.stateDir, 'pauses')), [boot])
})
