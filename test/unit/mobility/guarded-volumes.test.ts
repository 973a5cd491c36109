import test from 'ava'
import { pino } from 'pino'
import type { Guard } from '../../../agent/fence/contract.ts'
import type { Dependencies } from '../../../agent/mobility/dependencies.ts'
import { WatchdogVolumes } from '../../../agent/mobility/lease/guarded-volumes.ts'
import type { VolumeRecord } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'

const copy = { id: 'v', name: 'data', options: DEFAULT_OPTIONS, held: { epoch: 1, incarnation: 'i' } }

function record(seq: number, incarnation = 'i'): VolumeRecord {
  const other = { epoch: 1, seq, state: seq === 0 ? 'filling' : 'current', at: '', kept: true } as const
  return {
    ...{
      id: 'v',
      name: 'data',
      options: DEFAULT_OPTIONS,
      createdAt: '',
      epoch: 1,
      last: null,
      seizures: [],
      removedAt: null,
    },
    holder: { host: 'h1', incarnation, since: '' },
    copies: { h2: other },
  }
}

function watchdog(told: Guard[]): Dependencies['watchdog'] {
  return {
    guard: (guard) => void told.push(guard),
    inherited: async () => ({ untilMs: Number.NEGATIVE_INFINITY, volumes: [] }),
  }
}

function guarding(alone = false) {
  const told: Guard[] = []
  const dependencies = { alone, watchdog: watchdog(told), log: pino({ level: 'silent' }) }
  const held = { list: async () => [copy], undescribed: new Set<string>() }
  const made = new WatchdogVolumes(dependencies, { untilMs: 1 }, held)
  const volumes = async () => {
    await made.tell()
    return told.at(-1)?.volumes.map(({ id }) => id)
  }
  return { made, volumes }
}

test('promise 6: a volume is guarded from before the first copy elsewhere, and an older record does not end that', async (t) => {
  const { made, volumes } = guarding()
  made.learn(record(0), 'h1')
  t.deepEqual(await volumes(), [], 'a volume with a single copy is never fenced')
  t.false(made.guards(copy))
  await made.expect('v')
  t.deepEqual(await volumes(), ['v'])
  t.true(made.guards(copy))
  t.false(made.guards({ ...copy, held: { ...copy.held, epoch: 2 } }), 'the watchdog knows of another hold')
  made.learn(record(0), 'h1')
  t.deepEqual(await volumes(), ['v'])
  made.learn(record(0, 'the next hold'), 'h1')
  t.deepEqual(await volumes(), [])
  made.learn(record(1, 'the next hold'), 'h1')
  t.deepEqual(await volumes(), ['v'])
})

test('promise 6: what another host got while the volume was idle is guarded in the next hold, whatever its record says', async (t) => {
  const { made, volumes } = guarding()
  made.learn(record(0, 'the hold before'), 'h1')
  await made.expect('v')
  made.learn(record(0), 'h1')
  t.deepEqual(await volumes(), ['v'])
})

test('promise 6: data is given away only after the watchdog was told, however many hosts ask at once', async (t) => {
  const told: Guard[] = []
  const dependencies = { alone: false, watchdog: watchdog(told), log: pino({ level: 'silent' }) }
  const disk = Promise.withResolvers<void>()
  const held = { list: () => disk.promise.then(() => [copy]), undescribed: new Set<string>() }
  const made = new WatchdogVolumes(dependencies, { untilMs: 1 }, held)
  made.learn(record(1), 'h1')
  const given: number[] = []
  const expecting = [1, 2].map(() => made.expect('v').then(() => given.push(told.length)))
  await new Promise(setImmediate)
  t.deepEqual(given, [], 'the disk has not said yet what is held')
  disk.resolve()
  await Promise.all(expecting)
  t.true(given.every((words) => words > 0))
  t.deepEqual(
    told.map(({ volumes }) => volumes.map(({ id }) => id)),
    [['v'], ['v']],
  )
  const words = told.length
  await made.expect('v')
  t.is(told.length, words, 'it knows')
})

test('what is not known yet is guarded, but for a host that is alone', async (t) => {
  t.deepEqual(await guarding().volumes(), ['v'])
  t.deepEqual(await guarding(true).volumes(), [])
})
