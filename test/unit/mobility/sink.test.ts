import test from 'ava'
import { Coverage } from '../../../agent/mobility/checkpoint/coverage.ts'
import { CheckpointCycle } from '../../../agent/mobility/checkpoint/cycle.ts'
import { Schedule } from '../../../agent/mobility/checkpoint/schedule.ts'
import type { CheckpointSink, OfferedCheckpoint } from '../../../agent/mobility/checkpoint/sink.ts'
import { WherryError } from '../../../agent/model/errors.ts'
import type { Checkpoint } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { HeldKit, ID, NAME } from './held-kit.ts'

const OPTIONS = { ...DEFAULT_OPTIONS, checkpointMs: 10_000 }
const TAKEN: Checkpoint = { epoch: 2, seq: 2, hash: 'ab', at: '', bytes: 2, files: 1 }

/** A destination that notes its calls. */
class MemorySink implements CheckpointSink {
  failures: readonly string[] = []
  readonly calls: string[] = []
  readonly offered: OfferedCheckpoint[] = []
  readonly #open: boolean

  constructor(open: boolean) {
    this.#open = open
  }

  isOpen(): boolean {
    return this.#open
  }

  async offer(offered: OfferedCheckpoint): Promise<void> {
    this.calls.push(`offer ${offered.checkpoint.hash}`)
    this.offered.push(offered)
  }

  async distrust(): Promise<void> {
    this.calls.push('distrust')
  }

  stop(): void {
    this.calls.push('stop')
  }
}

/** A cycle of h1's hold with these sinks, and what each `take` comes to. */
async function start(sinks: readonly MemorySink[], ...takes: (Checkpoint | Error | null)[]) {
  const kit = await HeldKit.start(2, { checkpointMs: null })
  const { context } = kit.host('h1')
  const { clock } = context.dependencies
  let taken = 0
  const checkpointer = {
    pauseMs: 7,
    take: async () => {
      const result = takes[taken++] ?? null
      if (result instanceof Error) throw result
      return result
    },
  }
  const schedule = new Schedule(ID, OPTIONS, clock)
  const coverage = new Coverage(clock, context.hosts, null)
  const hold = { id: ID, name: NAME, epoch: 2, incarnation: 'i1' }
  const cycle = new CheckpointCycle(context, hold, { checkpointer, schedule, coverage, sinks })
  const run = async () => {
    cycle.begin()
    await cycle.running
    return cycle.view(OPTIONS)
  }
  return { kit, cycle, run, taken: () => taken }
}

test('every open sink gets the checkpoint that was taken, with the record and the interval', async (t) => {
  const sinks = [new MemorySink(true), new MemorySink(false), new MemorySink(true)]
  const { kit, run, taken } = await start(sinks, TAKEN)
  t.like(await run(), { state: 'waiting', error: null, failures: 0, pauseMs: 7 })
  t.is(taken(), 1)
  t.deepEqual(
    sinks.map(({ calls }) => calls),
    [['offer ab'], [], ['offer ab']],
  )
  t.deepEqual(sinks[0]?.offered, [{ checkpoint: TAKEN, record: await kit.record(), intervalMs: 10_000 }])
  kit.stop()
})

test('without an open sink, or in a hold that has ended, no checkpoint is taken', async (t) => {
  const closed = await start([new MemorySink(false)], TAKEN)
  await closed.run()
  t.is(closed.taken(), 0)
  closed.kit.stop()
  const ended = await start([new MemorySink(true)], TAKEN)
  ended.kit.host('h1').context.confirmed.clear()
  await ended.run()
  t.is(ended.taken(), 0)
  ended.kit.stop()
})

test('the first failure of a sink is shown, and a failed checkpoint is counted', async (t) => {
  const sink = new MemorySink(true)
  sink.failures = ['h2: no space', 'h3: away']
  const { kit, run } = await start([sink], TAKEN, new WherryError('VOLUME_BUSY', 'too long'), TAKEN)
  t.like(await run(), { error: 'h2: no space', failures: 0 })
  t.like(await run(), { error: 'too long', failures: 1 })
  sink.failures = []
  t.like(await run(), { error: null, failures: 0 })
  kit.stop()
})

test('after missed changes every sink distrusts what it has, before it gets a complete checkpoint', async (t) => {
  const sinks = [new MemorySink(true), new MemorySink(false)]
  const { kit, run, taken } = await start(sinks, new WherryError('CHANGES_MISSED', 'missed'), TAKEN)
  t.like(await run(), { error: null, failures: 0 })
  t.is(taken(), 2)
  t.deepEqual(sinks[0]?.calls, ['distrust', 'offer ab'])
  t.deepEqual(sinks[1]?.calls, ['distrust'])
  kit.stop()
})

test('a stop ends the sinks, and a cycle may begin again', async (t) => {
  const sink = new MemorySink(true)
  const { kit, cycle, run } = await start([sink], TAKEN, TAKEN)
  cycle.begin()
  await cycle.stop()
  t.is(cycle.running, null)
  t.true(sink.calls.includes('stop'))
  t.like(await run(), { state: 'waiting', error: null })
  t.is(sink.calls.at(-1), 'offer ab')
  kit.stop()
})
