import test from 'ava'
import { keepKnown } from '../../../agent/mobility/record/checkpoint-order.ts'
import { copiesAfter, withReplies } from '../../../agent/mobility/record/copies.ts'
import { seizureFields } from '../../../agent/mobility/record/lineage.ts'
import { parseInventory } from '../../../agent/mobility/recovery/inventory.ts'
import { mergeRecord } from '../../../agent/mobility/recovery/merge-record.ts'
import { planVolume } from '../../../agent/mobility/recovery/plan.ts'
import { WherryError } from '../../../agent/model/errors.ts'
import type { Checkpoint, VolumeRecord } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import type { LocalCopy } from '../../../agent/store/contract.ts'
import { bareCopy } from '../../../agent/store/disk/new-copy.ts'
import type { Query } from '../../../agent/transfer/contract.ts'
import { asNewer, lostFields } from '../../fake/newer-version.ts'
import { World } from './world.ts'

const AT = '2026-01-01T00:00:00.000Z'
const checkpoint = (epoch: number, seq: number): Checkpoint => {
  return { epoch, seq, hash: `${epoch}.${seq}`, at: AT, bytes: 1, files: 1 }
}
const entry = { epoch: 3, seq: 9, checkpoint: checkpoint(3, 9), state: 'current' as const, at: AT, kept: true }
const seizure = { epoch: 2, from: 'h1', by: 'h2', at: AT, base: checkpoint(1, 1), ageSeconds: 4 }

/** A record as a newer version left it. */
const NEWER: VolumeRecord = asNewer(
  {
    ...{ id: 'id1', name: 'data', options: DEFAULT_OPTIONS, createdAt: AT, epoch: 3, removedAt: null },
    holder: { host: 'h1', incarnation: 'i', since: AT },
    last: checkpoint(3, 9),
    seizures: Array.from({ length: 32 }, (_, nth) => ({ ...seizure, epoch: nth })),
    seizuresCut: { epoch: 0, hosts: ['h9'] },
    copies: { h1: entry, h2: { ...entry, state: 'behind' as const } },
  },
  1,
)

const WRITERS: Readonly<Record<string, (record: VolumeRecord) => VolumeRecord>> = {
  'the same checkpoint again': (record) => {
    const last = keepKnown(record.last, checkpoint(3, 9))
    return { ...record, last, copies: copiesAfter(record, 'h1', last) }
  },
  'the next checkpoint': (record) => ({ ...record, copies: copiesAfter(record, 'h2', checkpoint(3, 10)) }),
  'replies to offers': (record) => withReplies(record, 'h1', new Map([['h2', checkpoint(3, 9)]]), AT),
  'one more take-over': (record) => ({ ...record, ...seizureFields(record, { ...seizure, epoch: 99 }) }),
  recover(record) {
    const copy: LocalCopy = { ...bareCopy({ ...record }), checkpoint: checkpoint(3, 9), epochSeen: 4 }
    const found = ['h1', 'h2'].map((host) => ({ host, copy, proven: false, guarded: true }))
    const plan = planVolume('data', found, { someSilent: false, now: new Date(AT), by: 'h1' })
    const merged = typeof plan === 'string' ? plan : mergeRecord(record, plan)
    if (typeof merged === 'string') throw new Error(merged)
    return merged
  },
}

for (const [name, write] of Object.entries(WRITERS)) {
  test(`an older version keeps what a newer one put into a record: ${name}`, (t) => {
    const after = write(NEWER)
    t.notDeepEqual(after.copies, {})
    t.deepEqual(lostFields(NEWER, after), [])
  })
}

test('a volume that a newer version made is the same one for an older one that is asked to make it', async (t) => {
  const world = await World.start(1)
  const { agent } = world.host(1)
  await world.clock.until(agent.create('data', DEFAULT_OPTIONS))
  const found = await world.registry.volume('data')
  if (found === null) return t.fail()
  await world.registry.updateVolume(asNewer(found.value, 1), found.revision)
  await world.clock.until(agent.create('data', DEFAULT_OPTIONS))
  const other = agent.create('data', { ...DEFAULT_OPTIONS, copies: 3 })
  await t.throwsAsync(world.clock.until(other), { code: 'VOLUME_EXISTS' })
})

test('promise 2: a volume with a copy that could not be read is not recovered, as it may be held there', async (t) => {
  const world = await World.start(2)
  const [h1, h2] = [world.host(1), world.host(2)]
  await world.clock.until(h1.agent.create('data', { ...DEFAULT_OPTIONS, copies: 2 }))
  await world.use(1, 'data', 'content')
  await world.pass(20_000)
  const { id } = await world.record('data')
  const lost = await world.registry.volume('data')
  await world.registry.deleteVolume('data', lost?.revision ?? 0)
  await world.pass(20_000)
  const answer = h2.agent.answer
  const asNextFormat = (copy: LocalCopy) => {
    return { ...copy, readableFrom: 2, writtenBy: { host: 'h2', version: '9.9.9' }, mounts: 'of another kind' }
  }
  world.peersOf = () => ({
    ask: async (_host, question: Query, signal) => {
      const said = (await answer(question, { name: 'h1', altNames: 'DNS:h1' }, signal)) as { copies: LocalCopy[] }
      return question.kind === 'inventory' ? { ...said, copies: said.copies.map(asNextFormat) } : said
    },
  })
  await h1.restart()
  await world.pass(20_000)
  const { problems, written } = await world.clock.until(h1.agent.recover(new AbortController().signal))
  t.deepEqual(written, [])
  t.regex(problems.join('\n'), new RegExp(`volumes/${id} on host h2.*format 2.*Wherry 9.9.9`))
  t.regex(problems.join('\n'), /Volume "data" was not written: a copy of it .* It may be held there/)
  // Nor is an empty one made in its place. This host's own copy is gone.
  h1.store.disk.shelves.delete(id)
  const made = h1.agent.create('data', { ...DEFAULT_OPTIONS, copies: 2 })
  await t.throwsAsync(world.clock.until(made), { code: 'VOLUME_EXISTS', message: /h2.* cannot be read .*format 2/ })
})

test('an inventory of a host whose copies are in another format keeps the others', (t) => {
  const copy = bareCopy({ id: 'id1', name: 'data', options: DEFAULT_OPTIONS })
  const copies = [asNewer(copy, 1), { ...copy, id: 'id2', readableFrom: 99 }]
  const found = parseInventory({ host: 'h2', copies, damaged: [] }, 'h2')
  t.deepEqual(
    found.copies.map(({ id }) => id),
    ['id1'],
  )
  t.like(found.damaged, { 0: { path: 'volumes/id2', code: 'VERSION_SKEW' }, length: 1 })
})

test('promise 5: a host of a version without a common protocol is named with its version, not as silent', async (t) => {
  const world = await World.start(3)
  const [h1, h2, h3] = [world.host(1), world.host(2), world.host(3)]
  await world.clock.until(h1.agent.create('data', { ...DEFAULT_OPTIONS, copies: 2 }))
  await world.use(1, 'data', 'content')
  await world.pass(20_000)
  world.peersOf = () => ({
    ask: async () => {
      throw new WherryError('VERSION_SKEW', 'host h2 speaks version 9 of the transfer protocol')
    },
  })
  await h3.restart()
  await world.pass(5_000)
  await world.clock.until(h1.agent.mount('data', 'm', 100_000))
  h1.kill()
  h1.connected = false
  const mount = h3.agent.mount('data', 'n', 40_000)
  mount.catch(() => undefined)
  await world.pass(60_000)
  await t.throwsAsync(mount, { message: /h2 .*: host h2 speaks version 9 of the transfer protocol, last known/ })
  t.truthy(h2)
})
