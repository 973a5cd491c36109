import test from 'ava'
import { changeVolume, STALE_READ } from '../../../agent/mobility/record/update-record.ts'
import { WherryError } from '../../../agent/model/errors.ts'
import type { VolumeRecord } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import type { Versioned, Write } from '../../../agent/registry/contract.ts'
import { systemClock } from '../../../agent/runtime/clock.ts'

const RECORD: VolumeRecord = {
  id: '01J',
  name: 'data',
  options: DEFAULT_OPTIONS,
  createdAt: '2026-01-01T00:00:00Z',
  epoch: 3,
  holder: null,
  last: null,
  seizures: [],
  copies: {},
  removedAt: null,
}

type Answer = 'done' | 'refused' | 'lost before' | 'lost after' | 'away'

/**
 * One record with compare-and-set, whose answers follow a script: the orders of events a real registry seldom shows.
 */
function scripted(answers: Answer[], reads: VolumeRecord[] = []) {
  let stored: Versioned<VolumeRecord> = { value: RECORD, revision: 10 }
  let writes = 0
  const registry = {
    async volume() {
      const stale = reads.shift()
      return stale === undefined ? stored : { value: stale, revision: stored.revision - 1 }
    },
    async updateVolume(record: VolumeRecord, revision: number): Promise<Write<VolumeRecord>> {
      writes++
      const answer = answers.shift() ?? 'done'
      if (answer === 'away') throw new WherryError('REGISTRY_UNAVAILABLE', 'The registry is away.')
      if (answer === 'refused' || revision !== stored.revision) return { outcome: 'refused' }
      if (answer !== 'lost before') stored = { value: record, revision: revision + 1 }
      if (answer !== 'done') return { outcome: 'unknown', cause: new Error('no answer') }
      return { outcome: 'done', entry: stored }
    },
  }
  return { parts: { registry, clock: systemClock }, stored: () => stored.value, writes: () => writes }
}

const hold = (record: VolumeRecord | null): VolumeRecord => {
  if (record === null) throw new Error('gone')
  if (record.holder?.incarnation === 'mine') return { ...record }
  if (record.holder !== null) throw new WherryError('VOLUME_HELD_ELSEWHERE', 'held')
  return { ...record, epoch: record.epoch + 1, holder: { host: 'me', incarnation: 'mine', since: 'now' } }
}

for (const lost of ['lost before', 'lost after'] as const) {
  test(`promise 1: a hold whose answer was ${lost} the write took effect counts once, and only when acknowledged`, async (t) => {
    const world = scripted([lost])
    const { entry, written } = await changeVolume(world.parts, 'data', hold, systemClock.deadline(5_000))
    t.true(written)
    t.is(entry?.value.epoch, 4)
    t.is(world.stored().epoch, 4)
    t.is(world.writes(), 2)
  })
}

test('promise 1: a stale read of an idle volume cannot win against the hold it has not seen', async (t) => {
  const world = scripted(['done'])
  await changeVolume(world.parts, 'data', hold, systemClock.deadline(5_000))
  const other = scriptedReads(world)
  const theirs = (record: VolumeRecord | null): VolumeRecord => {
    if (record === null || record.holder !== null) throw new WherryError('VOLUME_HELD_ELSEWHERE', 'held')
    return { ...record, epoch: record.epoch + 1, holder: { host: 'other', incarnation: 'theirs', since: 'now' } }
  }
  await t.throwsAsync(changeVolume(other, 'data', theirs, systemClock.deadline(5_000)), {
    code: 'VOLUME_HELD_ELSEWHERE',
  })
  t.is(world.stored().holder?.incarnation, 'mine')
})

test('a read known to be stale is read again, not written over', async (t) => {
  const world = scripted([], [{ ...RECORD, epoch: 2 }])
  const { entry } = await changeVolume(
    world.parts,
    'data',
    (record) => (record !== null && record.epoch < 3 ? STALE_READ : hold(record)),
    systemClock.deadline(5_000),
  )
  t.is(entry?.value.epoch, 4)
  t.is(world.writes(), 1)
})

test('promise 10: a registry that stays away is an error that says so, never an answer', async (t) => {
  const world = scripted(['away', 'away', 'away', 'away', 'away', 'away', 'away', 'away'])
  const error = await t.throwsAsync(changeVolume(world.parts, 'data', hold, systemClock.deadline(500)))
  t.is((error as WherryError).code, 'REGISTRY_UNAVAILABLE')
  t.regex((error as WherryError).toLine(), /"data".*The registry is away/)
})

test('a stale read of an earlier holder does not make a hold give up whose answer was lost', async (t) => {
  const world = scripted(['lost after'])
  let reads = 0
  const registry = {
    ...world.parts.registry,
    async volume() {
      reads += 1
      const now = await world.parts.registry.volume()
      if (reads !== 2 || now === null) return now
      // As a server says it that has not heard of the release yet, let alone of the hold after it.
      const holder = { host: 'earlier', incarnation: 'theirs', since: 'then' }
      return { value: { ...RECORD, holder }, revision: 9 }
    },
  }
  const { entry } = await changeVolume({ registry, clock: systemClock }, 'data', hold, systemClock.deadline(5_000))
  t.is(entry?.value.holder?.incarnation, 'mine')
  t.is(world.stored().epoch, 4)
})

/** The same registry, whose first read is older than its newest write. */
function scriptedReads(world: ReturnType<typeof scripted>) {
  let first = true
  const registry = {
    ...world.parts.registry,
    async volume() {
      const now = await world.parts.registry.volume()
      if (!first || now === null) return now
      first = false
      return { value: RECORD, revision: now.revision - 1 }
    },
  }
  return { registry, clock: systemClock }
}
