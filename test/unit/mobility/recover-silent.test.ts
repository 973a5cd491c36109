import test from 'ava'
import { planVolume } from '../../../agent/mobility/recovery/plan.ts'
import { codeOf } from '../../../agent/model/errors.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import type { LocalCopy } from '../../../agent/store/contract.ts'
import { bareCopy } from '../../../agent/store/disk/new-copy.ts'
import { World } from './world.ts'

const never = new AbortController().signal

/** The registry comes back with nothing, and every renewal that was known is gone with it. */
async function loseRegistry(world: World): Promise<void> {
  for (const { value, revision } of await world.registry.volumes())
    await world.registry.deleteVolume(value.name, revision)
}

test('promises 1 and 2: a volume that only a silent host can have data of is not rebuilt as idle and empty', async (t) => {
  const world = await World.start(4)
  const [holder, other] = [world.host(1), world.host(2)]
  await holder.agent.create('data', { ...DEFAULT_OPTIONS, copies: 2 })
  await world.clock.until(holder.agent.mount('data', 'm', 100_000))
  holder.users = [{ id: 'c1', name: 'files', state: 'running', volumes: ['data'] }]
  const { id } = await world.record('data')
  holder.store.trees.set(id, 'one')
  // Somebody wants it elsewhere: that host has begun with a copy, and has nothing of it when the holder is cut off.
  world.pullMs = 1_000_000
  const waiting = world.host(3).agent.mount('data', 'm3', 5_000)
  await t.throwsAsync(world.clock.until(waiting))
  t.truthy(await world.host(3).store.create({ id, name: 'data', options: DEFAULT_OPTIONS }))
  holder.connected = false
  await world.pass(30_000)
  const kept = await world.clock.until(other.agent.recover(never))
  t.deepEqual([kept.written, kept.kept, kept.problems.length], [[], ['data'], 1], 'a record that stands is no problem')
  await loseRegistry(world)
  const { written, problems } = await world.clock.until(other.agent.recover(never))
  t.deepEqual(written, [])
  t.regex(problems.join('\n'), /"data": no host that answered has usable data .*\(known on h3\)/)
  const refused = await t.throwsAsync(world.clock.until(other.agent.mount('data', 'm2', 5_000)))
  t.is(codeOf(refused), 'VOLUME_NOT_FOUND')
  // No other host could take it over: it runs on.
  t.is(holder.users[0]?.state, 'running')
  holder.connected = true
  await world.pass(5_000)
  t.deepEqual((await world.clock.until(other.agent.recover(never))).written, ['data'])
  t.like(await world.record('data'), { epoch: 1, holder: { host: 'h1' } })
})

test('promise 2: a checkpoint under a hold that was taken over is not gone on from: that tree is put aside', (t) => {
  const point = (epoch: number, seq: number) => ({ epoch, seq, hash: `${epoch}.${seq}`, at: '', bytes: 1, files: 1 })
  const copy = (more: Partial<LocalCopy>) => ({
    ...bareCopy({ id: 'v1', name: 'data', options: DEFAULT_OPTIONS }),
    ...more,
  })
  const lost = copy({ checkpoint: point(5, 9), epochSeen: 5, held: { epoch: 5, incarnation: 'old' } })
  const rest = copy({ checkpoint: point(5, 8), epochSeen: 6 })
  const all = { someSilent: false, now: new Date(0), by: 'me' }
  const found = [
    { host: 'a', copy: lost, proven: false, guarded: true },
    { host: 'b', copy: rest, proven: false, guarded: true },
  ]
  t.like(planVolume('data', found, all), { epoch: 6, holder: null, last: point(5, 8) })
  const alone = found.map((one) => (one.host === 'b' ? { ...one, copy: { ...rest, checkpoint: null } } : one))
  t.regex(
    `${planVolume('data', alone, all)}`,
    /the only checkpoint is on host a, whose hold \(epoch 5\) was taken over/,
  )
  const intended = { ...lost, epochSeen: 4, checkpoint: point(4, 9), held: { epoch: 5, incarnation: 'never' } }
  const resting = [{ host: 'a', copy: intended, proven: false, guarded: true }]
  t.like(planVolume('data', resting, all), { epoch: 5, last: point(4, 9) })
})

test('promise 2: with a host silent, an empty tree is not gone on from, whatever checkpoint it is said to be', (t) => {
  const empty = { epoch: 1, seq: 1, hash: 'none', at: '', bytes: 0, files: 0 }
  const copy = { ...bareCopy({ id: 'v1', name: 'data', options: DEFAULT_OPTIONS }), checkpoint: empty, epochSeen: 1 }
  const plan = (someSilent: boolean) =>
    planVolume('data', [{ host: 'a', copy, proven: false, guarded: true }], { someSilent, now: new Date(0), by: 'me' })
  const refused = plan(true)
  t.regex(
    String(typeof refused === 'string' ? refused : refused.refusal),
    /no host that answered has usable data of it/,
  )
  t.like(plan(false), { last: empty, refusal: null })
})
