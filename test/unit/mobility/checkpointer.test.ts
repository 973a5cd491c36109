import test from 'ava'
import { Checkpointer } from '../../../agent/mobility/checkpoint/checkpointer.ts'
import { Coverage } from '../../../agent/mobility/checkpoint/coverage.ts'
import { Schedule } from '../../../agent/mobility/checkpoint/schedule.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { KeyedQueue } from '../../../agent/runtime/keyed-queue.ts'
import { hashOf } from '../../fake/memory-store.ts'
import { HeldKit, ID, NAME } from './held-kit.ts'

const never = new AbortController().signal

/** A checkpointer of h1's hold, without a scheduler that begins checkpoints itself. */
async function start(incarnation = 'i1') {
  const kit = await HeldKit.start(2, { checkpointMs: null })
  const host = kit.host('h1')
  const hold = { id: ID, name: NAME, epoch: 2, incarnation }
  const schedule = new Schedule(ID, { ...DEFAULT_OPTIONS, checkpointMs: 10_000 }, kit.clock)
  const coverage = new Coverage(kit.clock, host.context.hosts, null)
  const checkpointer = new Checkpointer(host.context, hold, schedule, coverage, new KeyedQueue())
  return { kit, host, schedule, coverage, checkpointer, take: () => kit.clock.until(checkpointer.take(never)) }
}

test('a checkpoint is durable on return and known to the coverage; an unchanged tree gives the same one', async (t) => {
  const { kit, host, coverage, checkpointer, take } = await start()
  host.containers.run('c1')
  host.store.freezeMs = 100
  kit.write('ab')
  const taken = await take()
  t.like(taken, { epoch: 2, seq: 2, hash: hashOf('ab') })
  t.deepEqual((await host.store.copy(ID))?.checkpoint, taken)
  t.true(coverage.learn('h2', hashOf('ab')))
  t.is(checkpointer.pauseMs, 100)
  t.deepEqual(await take(), taken)
  t.deepEqual(host.containers.log, ['freeze c1', 'thaw c1'])
  kit.stop()
})

test('a pause against the estimate that exceeds the budget is not tried again at once', async (t) => {
  const { kit, host, schedule, take } = await start()
  host.containers.run('c1')
  Object.assign(host.store, { scanned: 'no tracker', roundsMs: [400], freezeMs: 5_000 })
  kit.write('ab')
  await t.throwsAsync(take(), { code: 'VOLUME_BUSY' })
  t.false(schedule.mayPauseAgainstEstimate)
  await t.throwsAsync(take(), { code: 'VOLUME_BUSY' })
  t.deepEqual(host.containers.log, ['freeze c1', 'thaw c1'], 'the second try pauses no container')
  t.is((await host.store.copy(ID))?.checkpoint?.seq, 1)
  kit.stop()
})

test('of another hold, or of a volume that is not mounted, nothing is read', async (t) => {
  const other = await start('i2')
  t.is(await other.take(), null)
  t.deepEqual(other.host.store.rounds, [])
  other.kit.stop()
  const unmounted = await start()
  await unmounted.host.store.unmount(ID)
  t.is(await unmounted.take(), null)
  t.deepEqual(unmounted.host.store.rounds, [])
  unmounted.kit.stop()
})
