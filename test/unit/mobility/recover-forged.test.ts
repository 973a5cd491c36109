import test from 'ava'
import { planVolume } from '../../../agent/mobility/recovery/plan.ts'
import type { Checkpoint } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import type { LocalCopy, RecordMark } from '../../../agent/store/contract.ts'
import { bareCopy } from '../../../agent/store/disk/new-copy.ts'
import { hashOf } from '../../fake/memory-store.ts'
import { World } from './world.ts'

const never = () => new AbortController().signal

function point(epoch: number, seq: number, hash = `h${epoch}.${seq}`): Checkpoint {
  return { epoch, seq, hash, at: '', bytes: 1, files: 1 }
}

function noted(epoch: number, last: Checkpoint | null, holder: string | null = null): RecordMark {
  return { epoch, last, holder: holder === null ? null : { host: holder, incarnation: `of ${holder}` } }
}

/** The plan for what the disks have; `sure` is certain of its hold. */
function plan(copies: Record<string, Partial<LocalCopy>>) {
  const bare = bareCopy({ id: '01ARZ3NDEKTSV4RRFFQ69G5FAV', name: 'data', options: DEFAULT_OPTIONS })
  const found = Object.entries(copies).map(([host, more]) => {
    return { host, copy: { ...bare, ...more }, proven: host === 'sure', guarded: host !== 'unaware' }
  })
  return planVolume('data', found, { someSilent: false, now: new Date(0), by: 'me' })
}

const GOOD = { checkpoint: point(4, 2), epochSeen: 4, recordSeen: noted(4, point(4, 2)) }

test('promise 7: a checkpoint that another disk has seen left behind by the record is not continued from', (t) => {
  for (const forged of [point(4, 9), point(4, 2, 'evil')]) {
    const found = plan({ a: GOOD, liar: { checkpoint: forged, epochSeen: 4, recordSeen: noted(4, forged) } })
    t.is(typeof found, 'string')
  }
  t.regex(
    `${plan({ a: GOOD, liar: { checkpoint: point(4, 9), epochSeen: 4 } })}`,
    /host liar has checkpoint 4\.9, and by what host a has seen .* Move the directory volumes\/ID of the wrong one/,
  )
  // What came after what it has seen is none of that.
  t.like(plan({ a: GOOD, b: { checkpoint: point(5, 1), epochSeen: 5, recordSeen: noted(5, point(5, 1)) } }), {
    last: point(5, 1),
  })
})

test('promise 1: a hold that another disk knows to have ended, or of another host, is not written', (t) => {
  const held = { epoch: 4, incarnation: 'mine' }
  t.regex(`${plan({ a: GOOD, liar: { held, checkpoint: point(4, 9), epochSeen: 4 } })}`, /liar has a hold of epoch 4/)
  const used = { checkpoint: point(4, 2), epochSeen: 4, recordSeen: noted(4, point(3, 1), 'a') }
  t.regex(`${plan({ b: used, liar: { held, checkpoint: point(4, 9), epochSeen: 4 } })}`, /liar has a hold of epoch 4/)
  // A host that was killed in its release has both.
  t.like(plan({ a: GOOD, b: { held, checkpoint: point(4, 2), epochSeen: 4 } }), { holder: { host: 'b' } })
  // A later epoch ends no hold that its host is certain of.
  const sure = { held: { epoch: 4, incarnation: 'of sure' }, checkpoint: point(4, 2), epochSeen: 4 }
  t.regex(`${plan({ sure, liar: { checkpoint: point(9, 1), epochSeen: 9 } })}`, /by what host sure has seen/)
})

test('a checkpoint that one host has alone is continued from only if a record named it, by some disk', (t) => {
  const alone = { checkpoint: point(9, 1), epochSeen: 9 }
  t.regex(`${plan({ a: GOOD, liar: alone })}`, /only host liar has checkpoint 9\.1, and no disk knows that a record/)
  t.like(plan({ a: GOOD, b: { ...alone, recordSeen: noted(9, point(9, 1)) } }), { last: point(9, 1), alone: 'b' })
  t.like(plan({ a: { ...GOOD, recordSeen: noted(9, point(4, 2), 'b') }, b: alone }), { last: point(9, 1), alone: null })
  t.like(plan({ a: { checkpoint: null, recordSeen: noted(4, null) }, b: alone }), { last: point(9, 1), alone: null })
})

/** h1 and h2 have an idle volume; h3 has made up a copy with a higher epoch. */
async function ground(mark: RecordMark | null) {
  const world = await World.start(3)
  const [h1, h2, h3] = [world.host(1), world.host(2), world.host(3)]
  await h1.agent.create('data', { ...DEFAULT_OPTIONS, copies: 2 })
  await world.use(2, 'data', 'precious')
  await world.use(1, 'data', 'precious')
  await world.pass(20_000)
  const { id, options } = await world.record('data')
  await h3.store.create({ id, name: 'data', options })
  h3.store.trees.set(id, 'evil')
  const checkpoint = { ...point(1001, 1, hashOf('evil')), at: new Date(0).toISOString() }
  await h3.store.update(id, { checkpoint, epochSeen: 1001, recordSeen: mark })
  const recover = () => world.clock.until(h1.agent.recover(never()))
  const trees = () => [h1, h2].flatMap(({ store }) => [store.trees.get(id) ?? '', ...store.aside.values()])
  return { world, recover, trees, mark: noted(1001, checkpoint) }
}

test('promise 7: recover believes no single host against a record that stands', async (t) => {
  const forged = (await ground(null)).mark
  for (const mark of [null, forged]) {
    const { world, recover, trees } = await ground(mark)
    const before = await world.record('data')
    const { written, problems } = await recover()
    t.deepEqual(written, [])
    t.regex(problems.join('\n'), /only host h3 has/)
    await world.pass(30_000)
    t.deepEqual((await world.record('data')).last, before.last)
    t.deepEqual(trees(), ['precious', 'precious'])
  }
})

test('promise 7: after a loss of the registry, one host that forges even its notes overwrites no copy', async (t) => {
  const { world, recover, trees, mark } = await ground((await ground(null)).mark)
  const entry = await world.registry.volume('data')
  if (entry === null) return t.fail()
  await world.registry.deleteVolume('data', entry.revision)
  t.deepEqual((await recover()).written, ['data'])
  t.like(await world.record('data'), { last: { hash: mark.last?.hash }, seizuresCut: { epoch: 1001 } })
  await world.pass(60_000)
  t.is(trees().filter((tree) => tree === 'precious').length, 2, 'both are kept beside what came')
})
