import { once } from 'node:events'
import test from 'ava'
import { WherryError } from '../../../agent/model/errors.ts'
import { hashOf } from '../../fake/memory-store.ts'
import { HeldKit, ID } from './held-kit.ts'

const view = (kit: HeldKit) => {
  const { context, store } = kit.host('h1')
  return store.copy(ID).then((local) => {
    if (local === null) throw new Error('no copy')
    return context.checkpointScheduler.view(ID, local.options)
  })
}

test('promise 5: what containers wrote is a committed checkpoint on another host within the interval', async (t) => {
  const kit = await HeldKit.start(3)
  kit.host('h1').containers.run('c1')
  kit.write('ab')
  await kit.clock.advance(11_000)
  const record = await kit.record()
  t.like(record.last, { epoch: 2, seq: 2, hash: hashOf('ab') })
  for (const host of ['h1', 'h2', 'h3']) t.like(record.copies[host], { state: 'current', epoch: 2, seq: 2 }, host)
  t.is(kit.host('h2').store.trees.get(ID), 'ab')
  t.like(await kit.answerOf('h3'), { epochSeen: 2, held: false })
  t.deepEqual(kit.host('h1').containers.log, ['freeze c1', 'thaw c1'])
  const { state, ageSeconds, error } = await view(kit)
  t.deepEqual([state, error], ['waiting', null])
  t.true((ageSeconds ?? 99) <= 2)
  // The watchdog knew that the volume could be taken over before it could.
  t.deepEqual(kit.host('h1').expected, [ID])
  kit.stop()
})

test('a tree in which nothing changed costs no pause and no checkpoint, and its age is none', async (t) => {
  const kit = await HeldKit.start(2)
  kit.host('h1').containers.run('c1')
  await kit.clock.advance(61_000)
  t.deepEqual(kit.host('h1').containers.log, [])
  t.is((await kit.record()).last?.seq, 1)
  t.is(kit.host('h2').pulls, 0)
  t.true(((await view(kit)).ageSeconds ?? 99) <= 10)
  const covered = kit.host('h1').context.checkpointScheduler.covered(ID)
  t.like(covered, { epoch: 1, seq: 1 })
  t.true(kit.clock.now().getTime() - Date.parse(covered?.at ?? '') <= 10_000)
  kit.stop()
})

test('a copy that begins while nothing changes gets the checkpoint that stands', async (t) => {
  const kit = await HeldKit.start(2)
  const at = kit.clock.now().toISOString()
  await kit.host('h2').store.trash(ID)
  const filling = { epoch: 0, seq: 0, state: 'filling', at, kept: true } as const
  await kit.change((record) => ({ ...record, copies: { ...record.copies, h2: filling } }))
  await kit.clock.advance(11_000)
  t.is(kit.host('h2').store.trees.get(ID), 'a')
  t.like((await kit.record()).copies.h2, { state: 'current', epoch: 1, seq: 1, kept: true })
  kit.stop()
})

test('without a copy elsewhere nothing is read and nothing is paused', async (t) => {
  const kit = await HeldKit.start(1)
  kit.host('h1').containers.run('c1')
  kit.write('ab')
  await kit.clock.advance(60_000)
  t.deepEqual(kit.host('h1').store.rounds, [])
  kit.stop()
})

test('with checkpoint=off nothing is read and nothing is paused', async (t) => {
  const kit = await HeldKit.start(2, { checkpointMs: null })
  kit.write('ab')
  await kit.clock.advance(60_000)
  t.deepEqual(kit.host('h1').store.rounds, [])
  t.is((await view(kit)).state, 'off')
  kit.stop()
})

test('checkpoint=auto: every 2 s if the kernel reports changes, else every 10 s and the view says why', async (t) => {
  const kit = await HeldKit.start(2)
  const { store, containers } = kit.host('h1')
  containers.run('c1')
  store.scanned = null
  kit.write('ab')
  await kit.clock.advance(11_000)
  const seen = store.rounds.length
  t.like(await view(kit), { intervalMs: 2_000, scanned: null })
  for (const tree of ['abc', 'abcd', 'abcde']) {
    kit.write(tree)
    await kit.clock.advance(2_500)
  }
  t.true(store.rounds.length - seen >= 6, 'a round and a last round each time')
  store.scanned = 'events were lost'
  kit.write('abcdef')
  await kit.clock.advance(2_500)
  t.like(await view(kit), { intervalMs: 10_000, scanned: 'events were lost' })
  kit.stop()
})

test('promise 5: after missed changes copies are behind until a complete checkpoint, taken at once', async (t) => {
  const kit = await HeldKit.start(2)
  const { store, containers } = kit.host('h1')
  containers.run('c1')
  kit.write('ab')
  await kit.clock.advance(11_000)
  t.is((await kit.record()).copies.h2?.state, 'current')
  const states: (string | undefined)[] = []
  store.roundFails = async () => {
    states.push((await kit.record()).copies.h2?.state)
    if (states.length === 1) throw new WherryError('CHANGES_MISSED', 'missed')
  }
  kit.write('abc')
  await kit.clock.advance(10_500)
  t.deepEqual(states, ['current', 'behind'])
  t.like((await kit.record()).copies.h2, { state: 'current', seq: 3 })
  t.is((await kit.record()).last?.hash, hashOf('abc'))
  t.is((await view(kit)).failures, 0)
  kit.stop()
})

test('with consistency=live nothing is paused, and the view says so', async (t) => {
  const kit = await HeldKit.start(2, { consistency: 'live' })
  kit.host('h1').containers.run('c1')
  kit.write('ab')
  await kit.clock.advance(11_000)
  t.deepEqual(kit.host('h1').store.rounds, ['round', 'live'])
  t.deepEqual(kit.host('h1').containers.log, [])
  t.is((await kit.record()).last?.hash, hashOf('ab'))
  t.is((await view(kit)).state, 'fuzzy')
  kit.stop()
})

test('containers that run are frozen, others are not', async (t) => {
  const kit = await HeldKit.start(2)
  const { containers } = kit.host('h1')
  containers.run('c1')
  containers.run('c2')
  const more = { volumes: ['data'], name: '' }
  containers.users.push({ id: 'paused', state: 'paused', ...more }, { id: 'exited', state: 'exited', ...more })
  containers.users.push({ id: 'other', name: '', state: 'running', volumes: ['other'] })
  kit.write('ab')
  await kit.clock.advance(11_000)
  t.deepEqual(containers.log, ['freeze c1', 'freeze c2', 'thaw c1', 'thaw c2'])
  kit.stop()
})

test('a pause over the budget is given up: containers resume, and the next try backs off', async (t) => {
  const kit = await HeldKit.start(2)
  const { containers, store } = kit.host('h1')
  containers.run('c1')
  store.freezeMs = 5_000
  kit.write('ab')
  await kit.clock.advance(10_600)
  t.deepEqual(containers.log, ['freeze c1', 'thaw c1'])
  t.regex((await view(kit)).error ?? '', /paused its containers for more than 500 ms/)
  // Tries at 10, 30, 70 and 130 s: after 10, 20, 40 and 60 s.
  const starts = () => containers.log.filter((line) => line === 'freeze c1').length
  await kit.clock.advance(18_000)
  t.is(starts(), 1)
  await kit.clock.advance(3_000)
  t.is(starts(), 2)
  await kit.clock.advance(36_000)
  t.is(starts(), 2)
  await kit.clock.advance(5_000)
  t.is(starts(), 3)
  store.freezeMs = 100
  await kit.clock.advance(90_000)
  t.is((await kit.record()).last?.hash, hashOf('ab'))
  t.deepEqual(containers.frozen, [])
  t.is((await view(kit)).error, null)
  kit.stop()
})

test('promise 5: a checkpoint comes soon after a burst of writes, however many pauses were too long', async (t) => {
  const kit = await HeldKit.start(2)
  const { containers, store } = kit.host('h1')
  containers.run('c1')
  const round = store.spoolRound.bind(store)
  store.spoolRound = async (id, signal) => ({ ...(await round(id, signal)), scanned: 'no tracker' })
  // All rounds say that a pause would be too long, and it is.
  store.roundsMs = [400]
  store.freezeMs = 5_000
  kit.write('ab')
  const starts = () => containers.log.filter((line) => line === 'freeze c1').length
  while (starts() < 4) await kit.clock.advance(1_000)
  const tries = store.rounds.length
  await kit.clock.advance(30_000)
  t.is(starts(), 4, 'no container is paused again so soon')
  t.true(store.rounds.length > tries, 'pre-copy rounds go on meanwhile')
  t.regex((await view(kit)).error ?? '', /paused its containers for more than 500 ms/)
  store.roundsMs = [20]
  store.freezeMs = 100
  await kit.clock.advance(20_000)
  t.is((await kit.record()).last?.hash, hashOf('ab'))
  t.is((await view(kit)).error, null)
  kit.stop()
})

test('a disk that misses the end of the budget keeps no container frozen, and its result is not used', async (t) => {
  const kit = await HeldKit.start(2)
  const { containers, store } = kit.host('h1')
  containers.run('c1')
  store.freezeMs = 5_000
  store.deaf = true
  kit.write('ab')
  await kit.clock.advance(10_800)
  t.deepEqual(containers.log, ['freeze c1', 'thaw c1'])
  await kit.clock.advance(5_000)
  t.is((await store.copy(ID))?.checkpoint?.seq, 1)
  kit.stop()
})

test('a tree that somebody else writes to makes no checkpoint', async (t) => {
  const kit = await HeldKit.start(2)
  const { containers, store } = kit.host('h1')
  containers.run('c1')
  store.spoolFreeze = async () => {
    throw new WherryError('TREE_CHANGED', 'somebody writes')
  }
  kit.write('ab')
  await kit.clock.advance(11_000)
  t.deepEqual(containers.log, ['freeze c1', 'thaw c1'])
  t.is((await kit.record()).last?.seq, 1)
  t.is((await view(kit)).error, 'somebody writes')
  kit.stop()
})

test('a container that starts during the pause makes the checkpoint void', async (t) => {
  const kit = await HeldKit.start(2)
  const { containers, store } = kit.host('h1')
  containers.run('c1')
  const freeze = store.spoolFreeze.bind(store)
  store.spoolFreeze = async (...args) => {
    containers.run('c2')
    return await freeze(...args)
  }
  kit.write('ab')
  await kit.clock.advance(11_000)
  t.regex((await view(kit)).error ?? '', /c2 was started/)
  t.is((await kit.record()).last?.seq, 1)
  store.spoolFreeze = freeze
  await kit.clock.advance(20_000)
  t.is((await kit.record()).last?.seq, 2)
  kit.stop()
})

test('the first container that starts during the freeze of a quiet tree makes it void as well', async (t) => {
  const kit = await HeldKit.start(2)
  const { containers, store } = kit.host('h1')
  const freeze = store.spoolFreeze.bind(store)
  store.spoolFreeze = async (...args) => {
    containers.run('c1')
    return await freeze(...args)
  }
  kit.write('ab')
  await kit.clock.advance(11_000)
  t.regex((await view(kit)).error ?? '', /c1 was started/)
  t.is((await store.copy(ID))?.checkpoint?.seq, 1)
  kit.stop()
})

test('a capture for pre-seeding that uses the tree is ended before a container is frozen', async (t) => {
  const kit = await HeldKit.start(2)
  const { containers, context } = kit.host('h1')
  containers.run('c1')
  const ended: string[] = []
  const never = new AbortController().signal
  for (const name of ['first', 'second']) {
    void context.liveCaptures.run(ID, never, async (signal) => {
      await once(signal, 'abort')
      await kit.clock.sleep(2_000, never)
      ended.push(name)
    })
  }
  kit.write('ab')
  await kit.clock.advance(11_500)
  t.deepEqual([ended, containers.log], [[], []])
  await kit.clock.advance(1_000)
  t.deepEqual(ended, ['first', 'second'], 'both, of two hosts that are pre-seeded')
  t.deepEqual(containers.log, ['freeze c1', 'thaw c1'])
  kit.stop()
})

test('rounds go on while they get shorter, and end with one that fits the budget', async (t) => {
  const kit = await HeldKit.start(2)
  const { store } = kit.host('h1')
  store.roundsMs = [4_000, 1_000, 300, 100, 50]
  kit.write('ab')
  await kit.clock.advance(17_000)
  t.deepEqual(store.rounds, ['round', 'round', 'round', 'round', 'quiet'])
  kit.stop()
})

test('containers that cannot be frozen run without a checkpoint, and the view says why', async (t) => {
  const kit = await HeldKit.start(2)
  const { containers, store } = kit.host('h1')
  containers.run('c1')
  containers.freezes.error = new WherryError('FREEZER_UNREACHABLE', 'no freezer')
  kit.write('ab')
  await kit.clock.advance(11_000)
  t.deepEqual(containers.log, [])
  t.is((await view(kit)).error, 'no freezer')
  t.false(store.rounds.includes('quiet'))
  containers.freezes.error = null
  await kit.clock.advance(60_000)
  t.deepEqual(containers.log, ['freeze c1', 'thaw c1'])
  t.is((await kit.record()).last?.hash, hashOf('ab'))
  kit.stop()
})

test('a release stops a checkpoint at any point: containers run on return, and no other one begins', async (t) => {
  for (const ms of [9_950, 10_050, 10_250, 10_400, 10_600, 10_800, 12_000]) {
    const kit = await HeldKit.start(2)
    const { containers, store, context } = kit.host('h1')
    containers.run('c1')
    store.roundsMs = [200]
    store.freezeMs = 300
    store.lastMs = 400
    kit.host('h2').pullMs = 5_000
    kit.write('ab')
    await kit.clock.advance(ms)
    context.releasing.add(ID)
    const reads = store.rounds.length
    await kit.clock.until(context.checkpointScheduler.stop(ID))
    t.deepEqual(containers.frozen, [], `${ms}`)
    await kit.clock.advance(60_000)
    t.is(store.rounds.length, reads, `${ms}`)
    context.releasing.delete(ID)
    await kit.clock.advance(30_000)
    t.true(store.rounds.length > reads, `${ms}`)
    t.is((await kit.record()).last?.hash, hashOf('ab'), `${ms}`)
    kit.stop()
  }
})

test('checkpoints that take long come less often: they get their share of the time and no more', async (t) => {
  const kit = await HeldKit.start(2)
  const { store } = kit.host('h1')
  store.roundsMs = [2_000]
  store.freezeMs = 0
  for (let n = 0; n < 600; n++) {
    kit.write(`a${n}`)
    await kit.clock.advance(1_000)
  }
  // Each takes eight rounds of two seconds; the first one is not counted.
  t.is((await view(kit)).intervalMs, 80_000)
  const busyMs = 2_000 * store.rounds.filter((kind) => kind === 'round').length
  t.true(busyMs <= 0.25 * 600_000, `${busyMs}`)
  t.true(busyMs >= 0.15 * 600_000, `${busyMs}`)
  kit.stop()
})
