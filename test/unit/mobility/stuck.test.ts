import test from 'ava'
import { codeOf, WherryError } from '../../../agent/model/errors.ts'
import type { Checkpoint } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { type MemoryHost, World } from './world.ts'

const DEADLINE_MS = 100_000
const OPTIONS = { ...DEFAULT_OPTIONS, copies: 2 }
const ODD = new WherryError('TREE_UNSUPPORTED', '"dir" in volume data is a mount, which Wherry cannot move.')
const BUSY = new WherryError(
  'VOLUME_BUSY',
  'The volume at /mnt/id cannot be let go, it is used by: process 7 (tail) reads..',
)
const gone = new AbortController().signal

/** A container of the first host has written; the second host has the checkpoint before the newest writes. */
async function running() {
  const world = await World.start(3)
  const [h1, h2] = [world.host(1), world.host(2)]
  await h1.agent.create('data', OPTIONS)
  await world.use(2, 'data', 'zero')
  await world.clock.until(h1.agent.mount('data', 'm', DEADLINE_MS))
  const { id } = await world.record('data')
  h1.users = [{ id: 'c1', name: 'db1', state: 'running', volumes: ['data'] }]
  h1.store.trees.set(id, 'one')
  await world.pass(30_000)
  h1.store.trees.set(id, 'one and the newest')
  return { world, id, h1, h2 }
}

/** The container ends, Docker unmounts. */
async function stop(host: MemoryHost): Promise<void> {
  host.users = []
  await host.agent.unmount('data', 'm').catch(() => undefined)
}

/** Lets watchdogs and clocks go on until a call has an answer: its value, or what it rejected with. */
async function outcome<T>(
  world: World,
  call: Promise<T>,
): Promise<{ value: T | undefined; error: Error | null; ms: number }> {
  const startMs = world.clock.elapsedMs()
  let done: { value: T | undefined; error: Error | null } | null = null
  call.then(
    (value) => {
      done = { value, error: null }
    },
    (error: Error) => {
      done = { value: undefined, error }
    },
  )
  for (let turns = 0; done === null && turns < 6_000; turns++) await world.pass(100)
  if (done === null) throw new Error('no answer')
  return { ...(done as { value: T | undefined; error: Error | null }), ms: world.clock.elapsedMs() - startMs }
}

test('a tree that cannot be captured: every host says so at once, a Mount elsewhere within seconds, and it is walked seldom', async (t) => {
  const { world, h1, h2 } = await running()
  h1.store.captureError = ODD
  const before = h1.store.captures
  await stop(h1)
  await world.pass(3_000)
  for (const host of world.hosts) t.is((await host.agent.get('data', gone)).stuck?.code, 'TREE_UNSUPPORTED')
  t.regex((await h2.agent.get('data', gone)).stuck?.text ?? '', /"dir".*is a mount/)
  const refused = await outcome(world, h2.agent.mount('data', 'm2', DEADLINE_MS))
  t.is(codeOf(refused.error), 'RELEASE_FAILED')
  t.regex(refused.error?.message ?? '', /host h1 .*no container uses it.*TREE_UNSUPPORTED.*"dir"/)
  t.true(refused.ms <= 10_000, `${refused.ms} ms`)
  await world.pass(600_000)
  t.true(h1.store.captures - before <= 60, `${h1.store.captures - before} looks at the tree in ten minutes`)
  h1.store.captureError = null
  await world.clock.until(h2.agent.mount('data', 'm2', DEADLINE_MS))
  t.is(h2.store.trees.get((await world.record('data')).id), 'one and the newest')
})

test('a release that failed is tried again for whoever waits, once it can be done', async (t) => {
  const { world, h1, h2, id } = await running()
  h1.store.unmountError = BUSY
  await stop(h1)
  await world.pass(60_000)
  const refused = await outcome(world, h2.agent.mount('data', 'm2', DEADLINE_MS))
  t.regex(refused.error?.message ?? '', /VOLUME_BUSY.*process 7 \(tail\)/)
  h1.store.unmountError = null
  const mounted = await outcome(world, h2.agent.mount('data', 'm2', DEADLINE_MS))
  t.is(mounted.error, null)
  t.true(mounted.ms < 5_000, `${mounted.ms} ms`)
  t.is(h2.store.trees.get(id), 'one and the newest')
  t.is((await h2.agent.get('data', gone)).stuck, null)
})

test('a volume that is busy takes a small share of the time, however long it takes to find out who uses it', async (t) => {
  const { world, h1 } = await running()
  let tries = 0
  h1.store.unmount = async () => {
    tries++
    await world.clock.sleep(1_000, gone)
    throw BUSY
  }
  await stop(h1)
  await world.pass(600_000)
  t.true(tries > 30 && tries <= 60, `${tries} tries of a second each in ten minutes`)
})

test('a Mount waits for a release that failed before and is under way again, however long it takes', async (t) => {
  const { world, h1, h2, id } = await running()
  h1.store.captureError = ODD
  await stop(h1)
  await world.pass(3_000)
  h1.store.captureError = null
  h1.store.captureMs = 30_000
  const mounted = await outcome(world, h2.agent.mount('data', 'm2', DEADLINE_MS))
  t.is(mounted.error, null)
  t.is(h2.store.trees.get(id), 'one and the newest')
})

test('promise 7: promote ends the hold of a live holder whose tree cannot be captured; what only it has is put aside there', async (t) => {
  const { world, h1, h2, id } = await running()
  h1.store.captureError = ODD
  await stop(h1)
  await world.pass(3_000)
  const refused = await outcome(world, h2.agent.promote('data', false, gone))
  t.is(codeOf(refused.error), 'FAILOVER_REFUSED')
  t.regex(refused.error?.message ?? '', /cannot be sent.*"dir"/)
  t.notRegex(refused.error?.message ?? '', /\.\./)
  const promoted = await outcome(world, h2.agent.promote('data', true, gone))
  t.is(promoted.error, null)
  t.true(promoted.ms < 10_000, `${promoted.ms} ms`)
  await world.clock.until(h2.agent.mount('data', 'm2', DEADLINE_MS))
  t.is(h2.store.trees.get(id), 'one')
  await world.pass(600_000)
  t.deepEqual([...h1.store.aside.values()], ['one and the newest'])
  t.is((await h1.store.copy(id))?.held, null)
})

test('promise 7: the hold of a tree that the disk cannot read ends as well; the tree is put aside', async (t) => {
  const { world, h1, h2, id } = await running()
  h1.store.captureError = Object.assign(new Error('EIO: read'), { code: 'EIO', syscall: 'read' })
  await stop(h1)
  await world.pass(3_000)
  t.is((await outcome(world, h2.agent.promote('data', true, gone))).error, null)
  await world.pass(600_000)
  t.deepEqual([...h1.store.aside.values()], ['one and the newest'])
  t.is((await h1.store.copy(id))?.held, null)
})

test('promise 9: a Mount on the host whose hold is over answers by its deadline, however long its tree is looked at', async (t) => {
  const { world, h1, h2, id } = await running()
  h1.store.unmountError = BUSY
  await stop(h1)
  await world.pass(60_000)
  h1.store.unmountError = null
  h1.store.capture = () => Promise.reject(ODD)
  t.is((await outcome(world, h2.agent.promote('data', false, gone))).error, null)
  Reflect.deleteProperty(h1.store, 'capture')
  h1.store.captureMs = 120_000
  const refused = await outcome(world, h1.agent.mount('data', 'm3', 20_000))
  t.true(refused.ms <= 20_000, `${refused.ms} ms`)
  t.is((await outcome(world, h1.agent.mount('data', 'm3', 400_000))).error, null)
  t.is(h1.store.trees.get(id), 'one and the newest')
})

test('promise 3: a holder whose disk cannot be written sends its last tree to whoever promotes the volume', async (t) => {
  const { world, h1, h2, id } = await running()
  h1.store.unwritable = 'EIO'
  await stop(h1)
  await world.pass(8_000)
  t.is((await h2.agent.get('data', gone)).unwritable?.code, 'EIO')
  const promoted = await outcome(world, h2.agent.promote('data', false, gone))
  t.is(promoted.error, null)
  await world.clock.until(h2.agent.mount('data', 'm2', DEADLINE_MS))
  t.is(h2.store.trees.get(id), 'one and the newest')
  t.is((await world.record('data')).seizures.at(-1)?.ageSeconds, 0)
  // Its disk is mended: what it has is what the cluster went on from.
  h1.store.unwritable = null
  await world.pass(120_000)
  t.deepEqual([...h1.store.aside.values()], [])
  t.is((await h1.store.copy(id))?.held, null)
})

test('promote is refused while a container of a live holder uses the volume', async (t) => {
  const { world, h2 } = await running()
  const refused = await outcome(world, h2.agent.promote('data', true, gone))
  t.is(codeOf(refused.error), 'VOLUME_HELD_ELSEWHERE')
  t.is((await world.record('data')).holder?.host, 'h1')
})

test('promote is refused between the Mount and the start of a container', async (t) => {
  const { world, h1, h2, id } = await running()
  await stop(h1)
  await world.pass(3_000)
  await world.clock.until(h1.agent.mount('data', 'm3', DEADLINE_MS))
  const refused = await outcome(world, h2.agent.promote('data', true, gone))
  t.is(codeOf(refused.error), 'VOLUME_HELD_ELSEWHERE')
  t.true(h1.store.mountedIds.has(id))
})

for (const lateMs of [0, 50, 150, 300, 600, 1_200, 2_500]) {
  test(`promise 1: a container that starts on the holder ${lateMs} ms into a promotion and a promotion never both succeed`, async (t) => {
    const { world, h1, h2, id } = await running()
    h1.store.captureError = ODD
    h1.store.captureMs = 400
    await stop(h1)
    await world.pass(5_000)
    const promoting = outcome(world, h2.agent.promote('data', true, gone))
    await world.clock.advance(lateMs)
    const mounting = h1.agent.mount('data', 'm3', 20_000).then(
      () => true,
      () => false,
    )
    const promoted = await promoting
    await world.pass(30_000)
    const { holder } = await world.record('data')
    const mounted = (await mounting) && h1.store.mountedIds.has(id)
    t.false(mounted && holder?.host !== 'h1', 'a tree is mounted whose hold is over')
    t.true(mounted || promoted.error === null, 'one of them succeeds')
  })
}

test('a volume whose holder cannot capture it is removed on any host, without a capture', async (t) => {
  const { world, h1, h2, id } = await running()
  h1.store.captureError = ODD
  await stop(h1)
  await world.pass(3_000)
  const removed = await outcome(world, h2.agent.remove('data'))
  t.is(removed.error, null)
  t.true(removed.ms < 10_000, `${removed.ms} ms`)
  await world.pass(10_000)
  t.is(await world.registry.volume('data'), null)
  t.true(h1.store.inTrash.has(id))
})

test('a tree that could not be read for a promotion is read anew for the next one', async (t) => {
  const { world, h1, h2, id } = await running()
  h1.store.unwritable = 'EROFS'
  h1.store.captureError = ODD
  await world.pass(5_000)
  await stop(h1)
  await world.pass(8_000)
  t.is(codeOf((await outcome(world, h2.agent.promote('data', false, gone))).error), 'FAILOVER_REFUSED')
  h1.store.captureError = null
  t.is((await outcome(world, h2.agent.promote('data', false, gone))).error, null)
  await world.clock.until(h2.agent.mount('data', 'm2', DEADLINE_MS))
  t.is(h2.store.trees.get(id), 'one and the newest')
})

test('promise 14: a tree that was given to a promotion that failed keeps its number; what is written later gets another', async (t) => {
  const { world, h1, h2, id } = await running()
  h1.store.capture = () => Promise.reject(ODD)
  await stop(h1)
  await world.pass(3_000)
  world.pullMs = 2_000
  const promoting = outcome(world, h2.agent.promote('data', false, gone))
  await world.clock.advance(1_900)
  await world.clock.until(h1.agent.mount('data', 'm3', DEADLINE_MS))
  h1.users = [{ id: 'c3', name: 'db3', state: 'running', volumes: ['data'] }]
  h1.store.trees.set(id, 'written later')
  Reflect.deleteProperty(h1.store, 'capture')
  let given: Checkpoint | null | undefined
  for (let looks = 0; given?.hash !== 'hash of one and the newest' && looks < 100; looks++) {
    await world.clock.advance(20)
    given = (await h2.store.copy(id))?.checkpoint
  }
  t.is(given?.hash, 'hash of one and the newest')
  t.not((await promoting).error, null)
  await world.pass(30_000)
  const { last } = await world.record('data')
  t.is(last?.hash, 'hash of written later')
  t.true((last?.seq ?? 0) > (given?.seq ?? 0) || (last?.epoch ?? 0) > (given?.epoch ?? 0))
  t.deepEqual([...h2.store.aside.values()], [])
})

test('why checkpoints are late is seen from every host, since when, and ends with it', async (t) => {
  const { world, h1, h2, id } = await running()
  await world.pass(15_000)
  t.is((await h2.agent.get('data', gone)).late, null)
  h1.store.spoolCommit = () => Promise.reject(new WherryError('DISK_FULL', 'Volume "data": no space on h1.'))
  h1.store.trees.set(id, 'more')
  await world.pass(15_000)
  const seen = (await h2.agent.get('data', gone)).late
  t.like(seen, { host: 'h1', code: 'DISK_FULL', text: 'Volume "data": no space on h1.' })
  t.like((await h1.agent.get('data', gone)).late, { host: 'h1', code: 'DISK_FULL' })
  await world.pass(60_000)
  t.is((await h2.agent.get('data', gone)).late?.since, seen?.since, 'since the first failure')
  Reflect.deleteProperty(h1.store, 'spoolCommit')
  await world.pass(120_000)
  t.is((await h2.agent.get('data', gone)).late, null)
})

test('promise 6: a host whose disk cannot be written fences, then lets others take over; it goes on when the disk is mended', async (t) => {
  const { world, h1, h2, id } = await running()
  await world.pass(15_000)
  h1.store.unwritable = 'EROFS'
  await world.pass(14_000)
  t.deepEqual(
    h1.users.map(({ state }) => state),
    ['paused'],
  )
  t.false((await h1.agent.health()).ready)
  t.regex((await h1.agent.health()).state.detail, /EROFS/)
  t.regex((await outcome(world, h1.agent.mount('data', 'x', 20_000))).error?.message ?? '', /EROFS/)
  await world.pass(2_000)
  const view = await h2.agent.get('data', gone)
  t.is(view.unwritable?.code, 'EROFS')
  for (const host of [h1, h2]) {
    const codes = (await host.agent.hosts()).map(({ unwritable }) => unwritable?.code ?? null)
    t.deepEqual(codes, ['EROFS', null, null])
  }
  const mounted = await outcome(world, h2.agent.mount('data', 'm2', DEADLINE_MS))
  t.is(mounted.error, null)
  t.is(h2.store.trees.get(id), 'one and the newest')
  h1.store.unwritable = null
  await world.pass(30_000)
  t.deepEqual(h1.users, [], 'what ran on the host that was taken over from is ended')
  t.true((await h1.agent.health()).ready)
})

test('promise 10: a host whose disk cannot even be listed says what is wrong, to others, to Docker and to a monitor', async (t) => {
  const { world, h1, h2 } = await running()
  h1.store.unwritable = 'EIO'
  h1.store.copiesError = Object.assign(new Error('EIO: i/o error, scandir'), { code: 'EIO', syscall: 'scandir' })
  await world.pass(8_000)
  t.is((await h2.agent.get('data', gone)).unwritable?.code, 'EIO')
  t.is((await h1.agent.get('data', gone)).unwritable?.code, 'EIO')
  t.regex(await h1.metrics.scrape(h1.agent), /^wherry_state_writable\{.*\} 0$/m)
  await world.pass(8_000)
  t.is(h1.users[0]?.state, 'paused')
})

test('promise 5: a take-over from a host that cannot write its disk goes on from what that host can still read', async (t) => {
  const { world, h1, h2, id } = await running()
  h1.store.unwritable = 'EROFS'
  await world.pass(5_000)
  h1.store.trees.set(id, 'one and what came after the newest checkpoint')
  await stop(h1)
  await world.pass(15_000)
  const mounted = await outcome(world, h2.agent.mount('data', 'm2', DEADLINE_MS))
  t.is(mounted.error, null)
  t.is(h2.store.trees.get(id), 'one and what came after the newest checkpoint')
})

test('promise 5: what a host that cannot write its disk has left cannot be fetched: the newest checkpoint is gone on from, on any host', async (t) => {
  const { world, h1, id } = await running()
  const h3 = world.host(3)
  h1.store.unwritable = 'EROFS'
  await world.pass(5_000)
  await stop(h1)
  await world.pass(15_000)
  h1.store.give = () => Promise.reject(new WherryError('TRANSFER_CUT', 'cannot be read'))
  const mounted = await outcome(world, h3.agent.mount('data', 'm3', DEADLINE_MS))
  t.is(mounted.error, null)
  t.true(mounted.ms < 10_000, `${mounted.ms} ms`)
  t.is(h3.store.trees.get(id), 'one')
})

test('promise 6: a host whose disk can be neither written nor read fences, and its agent lives on', async (t) => {
  const { world, h1, h2 } = await running()
  await world.pass(15_000)
  h1.store.unwritable = 'EIO'
  h1.store.copies = () => Promise.reject(Object.assign(new Error('EIO: scandir'), { code: 'EIO' }))
  await world.pass(12_000)
  t.is(h1.users[0]?.state, 'paused')
  t.is((await outcome(world, h2.agent.mount('data', 'm2', DEADLINE_MS))).error, null)
  t.is((await h2.agent.hosts()).length, 3)
})

test('a volume whose only copy is on a disk that cannot be written: the error names how to get it, and that works', async (t) => {
  const world = await World.start(2)
  const [h1, h2] = [world.host(1), world.host(2)]
  await h1.agent.create('data', { ...OPTIONS, copies: 1 })
  await world.clock.until(h1.agent.mount('data', 'm', DEADLINE_MS))
  const { id } = await world.record('data')
  h1.users = [{ id: 'c1', name: 'db1', state: 'running', volumes: ['data'] }]
  h1.store.trees.set(id, 'one')
  await world.pass(10_000)
  h1.store.unwritable = 'EROFS'
  await world.pass(5_000)
  await stop(h1)
  await world.pass(15_000)
  const refused = (await outcome(world, h2.agent.mount('data', 'm2', 10_000))).error
  const line = refused instanceof WherryError ? refused.toLine() : ''
  t.regex(line, /wherry promote data$/)
  t.regex(
    line,
    /because it cannot write its state directory \(EROFS\), and is not taken over: no host that can be reached/,
  )
  t.regex(line, /Host h1 \(h1\) may still be able to send what it has, which a Mount alone does not ask for\. Stop /)
  t.notRegex(line, /without what only it has/)
  t.is((await outcome(world, h2.agent.promote('data', false, gone))).error, null)
  await world.clock.until(h2.agent.mount('data', 'm2', DEADLINE_MS))
  t.is(h2.store.trees.get(id), 'one')
})

test('promise 3: the holder cannot write, the copies are away: a Mount names promote, which brings the tree', async (t) => {
  const { world, h1, h2, id } = await running()
  const h3 = world.host(3)
  h1.store.unwritable = 'EROFS'
  await world.pass(5_000)
  await stop(h1)
  h2.connected = false
  await world.pass(15_000)
  const refused = (await outcome(world, h3.agent.mount('data', 'm3', 10_000))).error
  t.regex(refused instanceof WherryError ? refused.toLine() : '', /may still be able to send .* wherry promote data$/)
  t.is((await outcome(world, h3.agent.promote('data', false, gone))).error, null)
  await world.clock.until(h3.agent.mount('data', 'm3', DEADLINE_MS))
  t.is(h3.store.trees.get(id), 'one and the newest')
})

test('a container goes on after a while in which its disk could not be written, if nobody took over', async (t) => {
  const { world, h1 } = await running()
  h1.store.unwritable = 'EROFS'
  await world.pass(20_000)
  t.is(h1.users[0]?.state, 'paused')
  h1.store.unwritable = null
  await world.pass(20_000)
  t.is(h1.users[0]?.state, 'running')
  t.is((await world.record('data')).holder?.host, 'h1')
})

test('promise 6: a volume without another usable copy is not fenced by a disk that cannot be written; a full disk fences nothing', async (t) => {
  const world = await World.start(2)
  const h1 = world.host(1)
  await h1.agent.create('data', { ...OPTIONS, copies: 1 })
  await world.clock.until(h1.agent.mount('data', 'm', DEADLINE_MS))
  h1.users = [{ id: 'c1', name: 'db1', state: 'running', volumes: ['data'] }]
  await world.pass(10_000)
  h1.store.unwritable = 'ENOSPC'
  await world.pass(30_000)
  t.true((await h1.agent.health()).lease.secondsLeft > 0)
  h1.store.unwritable = 'EROFS'
  await world.pass(60_000)
  t.is(h1.users[0]?.state, 'running')
})

test('a failure of one volume keeps no other from being released', async (t) => {
  const { world, h1, id } = await running()
  await h1.agent.create('other', OPTIONS)
  await world.clock.until(h1.agent.mount('other', 'm', DEADLINE_MS))
  h1.store.unmountError = BUSY
  const unmount = h1.store.unmount.bind(h1.store)
  h1.store.unmount = async (which) => {
    if (which === id) return await unmount(which)
    h1.store.mountedIds.delete(which)
  }
  await stop(h1)
  await h1.agent.unmount('other', 'm')
  await world.pass(5_000)
  t.is((await world.record('other')).holder, null)
})

test('a hold whose record cannot be read is named on every host, until it can be read again', async (t) => {
  const world = await World.start(2)
  const [h1, h2] = [world.host(1), world.host(2)]
  await h1.agent.create('data', OPTIONS)
  await world.clock.until(h1.agent.mount('data', 'm', 10_000))
  const { id } = await world.record('data')
  h1.store.unreadable.add(id)
  await world.pass(5_000)
  for (const { agent } of [h1, h2]) {
    const { stuck } = await world.clock.until(agent.get('data', gone))
    t.like(stuck, { host: 'h1', code: 'COPY_DAMAGED', text: 'EIO' })
  }
  h1.store.unreadable.delete(id)
  await world.pass(5_000)
  t.is((await world.clock.until(h2.agent.get('data', gone))).stuck, null)
})
