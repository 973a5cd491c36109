import test from 'ava'
import { replyWithCopy, takeOffer } from '../../../agent/mobility/peer/accept-offer.ts'
import { chooseTree } from '../../../agent/mobility/peer/serve-tree.ts'
import { dropPartialCopies } from '../../../agent/mobility/volume/drop-partial-copies.ts'
import { WherryError } from '../../../agent/model/errors.ts'
import type { Checkpoint, VolumeRecord } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { hashOf } from '../../fake/memory-store.ts'
import { peerAt } from '../../fake/peer-identity.ts'
import { HeldKit, ID } from './held-kit.ts'

const never = new AbortController().signal

/** What h1 would offer after it has spooled `tree` as checkpoint 2.`seq`. */
async function spool(kit: HeldKit, tree: string, seq: number): Promise<Checkpoint> {
  const { store } = kit.host('h1')
  const at = kit.clock.now().toISOString()
  kit.write(tree)
  const { hash, bytes, files } = await kit.clock.until(
    store.spoolFreeze(ID, 'quiet', never).then(() => store.spoolLast(ID, never)),
  )
  const checkpoint = { epoch: 2, seq, hash, at, bytes, files }
  await store.spoolCommit(ID, checkpoint)
  return checkpoint
}

/** For tests that let the time pass themselves. */
function begin(kit: HeldKit, record: VolumeRecord, checkpoint: Checkpoint, signal = never) {
  return takeOffer(kit.host('h2').context, { kind: 'offer', record, checkpoint, from: 'h1' }, peerAt('h1'), signal)
}

function offer(kit: HeldKit, record: VolumeRecord, checkpoint: Checkpoint, to = 'h2') {
  return kit.clock.until(
    takeOffer(kit.host(to).context, { kind: 'offer', record, checkpoint, from: 'h1' }, peerAt('h1'), never),
  )
}

test('promise 8: a host that knows better takes no checkpoint, and asks nobody for one', async (t) => {
  const kit = await HeldKit.start(2, { checkpointMs: null })
  const checkpoint = await spool(kit, 'ab', 2)
  const old = await kit.record()
  const { store } = kit.host('h2')
  const refused = async (given: VolumeRecord, why: RegExp) => {
    const error = await t.throwsAsync(offer(kit, given, checkpoint), { message: why })
    t.is((error as WherryError).code, 'STALE_EPOCH')
  }
  /** The registry has the record so, and h1 offers under it. */
  const refusedAt = async (change: Partial<VolumeRecord>, why: RegExp) => {
    await kit.change((now) => ({ ...now, ...change }))
    await refused(await kit.record(), why)
  }
  await store.update(ID, { epochSeen: 3 })
  await refused(old, /epoch 3 has been seen here/)
  await kit.change((now) => ({ ...now, epoch: 3 }))
  await refused(old, /epoch 3 has begun/)
  await store.update(ID, { held: { epoch: 2, incarnation: 'mine' } })
  await refused(await kit.record(), /held here at epoch 2/)
  await store.update(ID, { held: null })
  const mine = old.copies.h2
  if (mine === undefined) return t.fail()
  await refusedAt({ copies: { ...old.copies, h2: { ...mine, state: 'diverged' } } }, /does not have/)
  await refusedAt({ copies: {} }, /no copy is placed on this host/)
  await refusedAt({ copies: old.copies, holder: null }, /not from its holder/)
  t.is(kit.host('h2').pulls, 0)
  t.is(store.trees.get(ID), 'a')
  await kit.change((now) => ({ ...now, holder: old.holder }))
  t.like(await offer(kit, await kit.record(), checkpoint), { host: 'h2', epochSeen: 3, checkpoint, held: false })
  kit.stop()
})

test('promise 8: the epoch of an offer is on disk before its data is asked for', async (t) => {
  const kit = await HeldKit.start(2, { checkpointMs: null })
  const checkpoint = await spool(kit, 'ab', 2)
  const host = kit.host('h2')
  host.pullMs = 1_000
  const taking = begin(kit, await kit.record(), checkpoint)
  await kit.clock.advance(500)
  t.is((await host.store.copy(ID))?.epochSeen, 2)
  t.is((await host.store.copy(ID))?.checkpoint?.seq, 1)
  await kit.clock.until(taking)
  kit.stop()
})

test('an offer that is repeated joins the pull that runs; one that is cut off does not end it', async (t) => {
  const kit = await HeldKit.start(2, { checkpointMs: null })
  const checkpoint = await spool(kit, 'ab', 2)
  const record = await kit.record()
  const host = kit.host('h2')
  host.pullMs = 5_000
  const cut = new AbortController()
  const first = t.throwsAsync(begin(kit, record, checkpoint, cut.signal))
  await kit.clock.advance(1_000)
  cut.abort(new Error('cut'))
  await kit.clock.until(first)
  t.like(await offer(kit, record, checkpoint), { checkpoint })
  t.is(host.pulls, 1)
  t.like(await offer(kit, record, checkpoint), { checkpoint })
  t.is(host.pulls, 1)
  t.deepEqual(host.context.copyManager.moves('h2'), [])
  kit.stop()
})

test('promise 4: content that changed on the holder meanwhile is no damage: the copy waits for the next', async (t) => {
  const kit = await HeldKit.start(2, { checkpointMs: null })
  const record = await kit.record()
  const host = kit.host('h2')
  host.changing = true
  const error = await t.throwsAsync(offer(kit, record, await spool(kit, 'ab', 2)))
  t.is((error as WherryError).code, 'COPY_RUNNING')
  t.like(await kit.answerOf('h2'), { checkpoint: { epoch: 1, seq: 1 } })
  host.changing = false
  t.like(await offer(kit, record, await spool(kit, 'abc', 3)), { checkpoint: { epoch: 2, seq: 3 } })
  t.is(host.store.trees.get(ID), 'abc')
  kit.stop()
})

test('promise 7: a full disk on a copy is said, and the copy stays what it was', async (t) => {
  const kit = await HeldKit.start(2)
  kit.host('h2').store.stageError = new WherryError('DISK_FULL', 'no space left on h2.', { hint: 'Make room.' })
  kit.write('ab')
  await kit.clock.advance(21_000)
  const { context, store } = kit.host('h1')
  t.regex(
    context.checkpointScheduler.view(ID, (await kit.record()).options).error ?? '',
    /h2.*no space left on h2\. Make room\./,
  )
  t.like(await kit.record(), { last: { seq: 1 }, copies: { h2: { state: 'current', seq: 1 } } })
  t.is((await store.copy(ID))?.checkpoint?.seq, 2)
  kit.host('h2').store.stageError = null
  await kit.clock.advance(10_000)
  t.like(await kit.record(), { last: { seq: 2 }, copies: { h2: { state: 'current', seq: 2 } } })
  t.is(context.checkpointScheduler.view(ID, (await kit.record()).options).error, null)
  kit.stop()
})

test('a slow copy does not hold up the others, and joins them when it can', async (t) => {
  const kit = await HeldKit.start(3)
  kit.host('h3').pullMs = 35_000
  for (let n = 0; n < 22; n++) {
    kit.write(`a${n}`)
    await kit.clock.advance(1_000)
  }
  let record = await kit.record()
  t.is(record.last?.seq, 3)
  t.like(record.copies, { h2: { state: 'current', seq: 3 }, h3: { state: 'behind', seq: 1 } })
  await kit.clock.advance(60_000)
  record = await kit.record()
  t.is(record.last?.seq, record.copies.h2?.seq)
  await kit.clock.advance(60_000)
  record = await kit.record()
  t.like(record.copies, { h2: { state: 'current' }, h3: { state: 'current', seq: record.last?.seq } })
  kit.stop()
})

test('promise 5: while no other host gets it, a checkpoint is not the last one, and its age is told', async (t) => {
  const kit = await HeldKit.start(2)
  void kit.keepBeating()
  const { context } = kit.host('h1')
  await kit.clock.advance(11_000)
  kit.host('h2').down = true
  kit.write('ab')
  await kit.clock.advance(60_000)
  const record = await kit.record()
  t.is(record.last?.seq, 1)
  const view = context.checkpointScheduler.view(ID, record.options)
  t.true((view.ageSeconds ?? 0) >= 50, `${view.ageSeconds}`)
  t.regex(view.error ?? '', /h2/)
  kit.host('h2').down = false
  await kit.clock.advance(11_000)
  t.like(await kit.record(), { last: { hash: hashOf('ab') }, copies: { h2: { state: 'current' } } })
  kit.stop()
})

test('promise 5: copies get checkpoints while the registry is away, which are written when it is back', async (t) => {
  const kit = await HeldKit.start(2)
  await kit.clock.advance(11_000)
  kit.registry.away = true
  kit.write('ab')
  await kit.clock.advance(31_000)
  t.is(kit.host('h2').store.trees.get(ID), 'ab')
  const { context } = kit.host('h1')
  t.true(
    (context.checkpointScheduler.view(ID, (await kit.host('h1').store.copy(ID))?.options ?? DEFAULT_OPTIONS)
      .ageSeconds ?? 99) < 45,
  )
  kit.registry.away = false
  await kit.clock.advance(41_000)
  t.like(await kit.record(), { last: { hash: hashOf('ab') }, copies: { h2: { state: 'current' } } })
  kit.stop()
})

test('promise 8: a holder that was taken over from writes nothing to the record', async (t) => {
  const kit = await HeldKit.start(3)
  const { context } = kit.host('h1')
  kit.host('h2').pullMs = 3_000
  kit.host('h3').down = true
  kit.write('ab')
  await kit.clock.advance(11_000)
  const holder = { host: 'h3', incarnation: 'i2', since: kit.clock.now().toISOString() }
  await kit.change((record) => ({ ...record, epoch: 3, holder }))
  await kit.clock.advance(60_000)
  t.like(await kit.record(), { epoch: 3, holder, last: { seq: 1 } })
  context.confirmed.clear()
  const reads = kit.host('h1').store.rounds.length
  await kit.clock.advance(60_000)
  t.is(kit.host('h1').store.rounds.length, reads)
  kit.stop()
})

test('`last` never goes back: a reply about an older checkpoint marks its host as behind', async (t) => {
  const kit = await HeldKit.start(2)
  kit.write('ab')
  await kit.clock.advance(11_000)
  const newer = { epoch: 2, seq: 9, hash: 'other', at: '', bytes: 0, files: 0 }
  await kit.change((record) => ({ ...record, last: newer }))
  kit.write('abc')
  await kit.clock.advance(11_000)
  t.like(await kit.record(), { last: { seq: 9 }, copies: { h2: { state: 'behind', seq: 3 } } })
  kit.stop()
})

test('a pull of a checkpoint ends when the volume is released, and the same job brings the final one', async (t) => {
  const kit = await HeldKit.start(2, { checkpointMs: null })
  const checkpoint = await spool(kit, 'ab', 2)
  const host = kit.host('h2')
  host.pullMs = 60_000
  const offered = t.throwsAsync(begin(kit, await kit.record(), checkpoint))
  await kit.clock.advance(1_000)
  const final = { ...(await spool(kit, 'abc', 3)), seq: 3 }
  await kit.host('h1').store.update(ID, { held: null })
  const { copies } = await kit.record()
  const h1 = { ...copies.h1, epoch: 2, seq: 3, state: 'current' } as NonNullable<typeof copies.h1>
  await kit.change((record) => ({ ...record, holder: null, last: final, copies: { ...copies, h1 } }))
  host.pullMs = 100
  const job = host.context.copyManager.want(await kit.record(), 60_000)
  await kit.clock.advance(6_000)
  await offered
  t.is(host.store.trees.get(ID), 'abc')
  t.is(job.failure(), null)
  t.is(host.pulls, 2)
  t.like((await kit.record()).copies.h2, { state: 'current', seq: 3 })
  kit.stop()
})

test('a checkpoint for a take-over comes from any host that has it, although the record says held', async (t) => {
  const kit = await HeldKit.start(3, { checkpointMs: null })
  const checkpoint = await spool(kit, 'ab', 2)
  const record = await kit.record()
  await offer(kit, record, checkpoint, 'h3')
  kit.host('h1').down = true
  const { context, store } = kit.host('h2')
  const job = context.copyManager.wantCheckpoint(record, checkpoint, ['h1', 'h3'], 10_000)
  t.is(context.copyManager.wantCheckpoint(record, checkpoint, ['h3'], 10_000), job)
  await kit.clock.until(job.done)
  t.is(job.failure(), null)
  t.is((await store.copy(ID))?.checkpoint?.hash, checkpoint.hash)
  kit.stop()
})

test('a checkpoint that no host delivers is retried while it is wanted, then the job says why', async (t) => {
  const kit = await HeldKit.start(3, { checkpointMs: null })
  const checkpoint = await spool(kit, 'ab', 2)
  kit.host('h1').down = true
  const { context } = kit.host('h2')
  const job = context.copyManager.wantCheckpoint(await kit.record(), checkpoint, ['h1'], 5_000)
  await kit.clock.advance(4_000)
  t.truthy(context.copyManager.job(ID))
  await kit.clock.advance(3_000)
  t.is((job.failure() as WherryError).code, 'TRANSFER_CUT')
  t.is(context.copyManager.job(ID), undefined)
  kit.stop()
})

test('a copy that is kept is not dropped however long it fills; one that a move left is', async (t) => {
  for (const kept of [true, false]) {
    const kit = await HeldKit.start(2, { checkpointMs: null })
    const { context, store } = kit.host('h2')
    await store.update(ID, { checkpoint: null })
    const h2 = { epoch: 0, seq: 0, state: 'filling', at: '', kept } as const
    await kit.change((record) => ({ ...record, copies: { ...record.copies, h2 } }))
    await kit.clock.advance(660_000)
    await dropPartialCopies(context, 0)
    t.is(store.inTrash.has(ID), !kept)
    t.is((await kit.record()).copies.h2 !== undefined, kept)
    kit.stop()
  }
})

test('an offer that is late does not bring back a copy that was removed', async (t) => {
  const kit = await HeldKit.start(2, { checkpointMs: null })
  const checkpoint = await spool(kit, 'ab', 2)
  const record = await kit.record()
  await kit.host('h2').store.trash(ID)
  await kit.change((now) => ({ ...now, removedAt: 'now' }))
  await t.throwsAsync(offer(kit, record, checkpoint), { message: /knows no copy here/ })
  t.is(await kit.host('h2').store.copy(ID), null)
  kit.stop()
})

test('promise 7: a copy with a checkpoint that was left behind is set aside, then filled again', async (t) => {
  const kit = await HeldKit.start(2, { checkpointMs: null })
  const { store } = kit.host('h2')
  store.trees.set(ID, 'lost')
  await store.update(ID, { checkpoint: { epoch: 1, seq: 2, hash: hashOf('lost'), at: '', bytes: 4, files: 1 } })
  const base = { epoch: 1, seq: 1, hash: hashOf('a') }
  const seizure = { epoch: 2, from: 'h3', by: 'h1', at: '', base, ageSeconds: 1 }
  await kit.change((record) => ({ ...record, seizures: [seizure] }))
  const checkpoint = await spool(kit, 'ab', 2)
  t.like(await offer(kit, await kit.record(), checkpoint), { checkpoint })
  t.deepEqual([...store.aside.values()], ['lost'])
  t.is(store.trees.get(ID), 'ab')
  kit.stop()
})

test('a copy that is half applied or damaged has no checkpoint to offer', async (t) => {
  const kit = await HeldKit.start(2, { checkpointMs: null })
  const { store } = kit.host('h2')
  await store.update(ID, { applying: true })
  t.like(await kit.answerOf('h2'), { checkpoint: null, epochSeen: 1 })
  await store.update(ID, { applying: false, damaged: ['x'] })
  t.like(await kit.answerOf('h2'), { checkpoint: null })
  await store.trash(ID)
  t.is(await kit.answerOf('h2'), null)
  t.like(await kit.answerOf('h1'), { held: true, epochSeen: 2, checkpoint: { seq: 1 } })
  kit.stop()
})

test("a held volume's checkpoint is read from the spool, an older one is refused, a release comes first", async (t) => {
  const kit = await HeldKit.start(2, { checkpointMs: null })
  const { context } = kit.host('h1')
  const { hash } = await spool(kit, 'ab', 2)
  const ask = (wanted: string) =>
    chooseTree(context, { volume: ID, epoch: 2, want: { kind: 'checkpoint', hash: wanted } }, never)
  t.deepEqual(await ask(hash), { id: ID, kind: 'spool' })
  t.is(((await t.throwsAsync(ask(hashOf('a')))) as WherryError).code, 'NOT_AT_CHECKPOINT')
  context.releasing.add(ID)
  const end = Promise.withResolvers<void>()
  const releasing = context.locks.run(ID, async () => {
    await end.promise
    await context.dependencies.store.update(ID, { held: null })
  })
  const asked = ask(hash)
  end.resolve()
  await releasing
  t.deepEqual(await asked, { id: ID, kind: 'last' })
  kit.stop()
})

test('promise 8: a checkpoint that was on its way when a higher epoch was seen here is not applied', async (t) => {
  const kit = await HeldKit.start(2, { checkpointMs: null })
  const checkpoint = await spool(kit, 'ab', 2)
  const { store } = kit.host('h2')
  kit.host('h2').pullMs = 5_000
  const taking = begin(kit, await kit.record(), checkpoint)
  const refused = t.throwsAsync(taking, { message: /Epoch 3 .* has been seen/ })
  await kit.clock.advance(1_000)
  await store.update(ID, { epochSeen: 3 })
  await kit.clock.until(refused)
  t.is(store.trees.get(ID), 'a')
  kit.stop()
})

test('a host that is only pre-seeded is offered nothing, and no container is frozen for it', async (t) => {
  const kit = await HeldKit.start(2)
  kit.host('h1').containers.run('c1')
  const h2 = { epoch: 0, seq: 0, state: 'filling', at: '', kept: false } as const
  await kit.change((record) => ({ ...record, copies: { ...record.copies, h2 } }))
  kit.write('ab')
  await kit.clock.advance(60_000)
  t.deepEqual(kit.host('h1').containers.log, [])
  t.is(kit.host('h2').pulls, 0)
  kit.stop()
})

test('promise 6: under an expired lease no host is offered a checkpoint: it could take over at once', async (t) => {
  const kit = await HeldKit.start(2)
  const { lease } = kit.host('h1')
  lease.runs = false
  kit.host('h1').containers.run('c')
  kit.write('ab')
  await kit.clock.advance(60_000)
  t.is(kit.host('h2').pulls, 0)
  const { epoch } = await kit.record()
  const hash = (await kit.host('h1').store.copy(ID))?.checkpoint?.hash ?? ''
  const request = { volume: ID, epoch, want: { kind: 'checkpoint', hash } } as const
  await t.throwsAsync(chooseTree(kit.host('h1').context, request, never), { code: 'LEASE_LOST' })
  t.is((await replyWithCopy(kit.host('h1').context, ID))?.checkpoint, null)
  lease.runs = true
  await kit.clock.advance(60_000)
  t.is(kit.host('h2').store.trees.get(ID), 'ab')
  kit.stop()
})
