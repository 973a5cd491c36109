import { checkpointAt, HELD, NEVER_ABORTED, STORED_VOLUME, type StoreRules } from './store-kit.ts'

const { id } = STORED_VOLUME
const OTHER = 'v2'

/** What the decisions rely on for the copies of a disk. */
export const COPY_RULES: StoreRules = {
  'a copy is made once, empty, and the highest epoch it has seen never goes down': async (t, { store, subject }) => {
    t.is(await store.copy(id), null)
    const made = await store.create(STORED_VOLUME)
    t.deepEqual(await store.create({ ...STORED_VOLUME, name: 'other' }), made)
    t.is(subject.read(id), '')
    await store.update(id, { epochSeen: 7 })
    t.is((await store.update(id, { epochSeen: 3, mounts: { a: 1 } })).epochSeen, 7)
    t.deepEqual((await store.copies()).copies, [await store.copy(id)])
  },

  'promise 4: an apply takes just what was received whole, and never while the volume is in use': async (t, work) => {
    await work.store.create(STORED_VOLUME)
    const other = checkpointAt({ hash: 'f'.repeat(64), bytes: 1, files: 1 }, 1)
    await t.throwsAsync(work.store.apply(id, other), { code: 'STAGE_INCOMPLETE' })
    const hash = await work.receive('one')
    await t.throwsAsync(work.store.apply(id, other), { code: 'HASH_MISMATCH' })
    const checkpoint = { ...other, epoch: 5, hash }
    await work.store.update(id, { held: HELD })
    await t.throwsAsync(work.store.apply(id, checkpoint), { code: 'VOLUME_IN_USE' })
    await work.store.update(id, { held: null })
    await work.store.mount(id)
    await t.throwsAsync(work.store.apply(id, checkpoint), { code: 'VOLUME_IN_USE' })
    await work.store.unmount(id)
    await work.store.apply(id, checkpoint)
    t.is(work.subject.read(id), 'one')
    t.like(await work.store.copy(id), { checkpoint, applying: false, damaged: null, epochSeen: 5 })
    t.deepEqual(await work.give('last'), { hash, text: 'one' })
    await t.throwsAsync(work.store.apply(id, checkpoint), { code: 'STAGE_INCOMPLETE' })
  },

  'promise 2: a tree that is not its checkpoint is damaged, although a capture has kept it': async (t, work) => {
    const checkpoint = await work.filled('one')
    t.is((await work.store.verify(id, NEVER_ABORTED)).damagedCount, 0)
    work.write('two')
    t.not((await work.capture()).hash, checkpoint.hash)
    for (const look of [() => Promise.resolve(), () => work.store.verify(id, NEVER_ABORTED), () => work.capture()]) {
      await look()
      t.true(((await work.store.copy(id))?.damaged?.length ?? 0) > 0)
      await t.throwsAsync(work.store.mount(id), { code: 'COPY_DAMAGED' })
      await t.throwsAsync(work.give('last'), { code: 'COPY_DAMAGED' })
    }
    t.true((await work.store.verify(id, NEVER_ABORTED)).damagedCount > 0)
    await work.receive('one')
    await work.store.apply(id, checkpoint)
    t.is(work.subject.read(id), 'one')
    t.is((await work.store.verify(id, NEVER_ABORTED)).damagedCount, 0)
    await t.notThrowsAsync(work.store.mount(id))
    await work.store.unmount(id)
  },

  'a copy that was changed is whole again once a capture or a verification finds that this was undone': async (
    t,
    work,
  ) => {
    const checkpoint = await work.filled('one')
    for (const again of [() => work.capture(), () => work.store.verify(id, NEVER_ABORTED)]) {
      work.write('two')
      await work.capture()
      await t.throwsAsync(work.give('last'), { code: 'COPY_DAMAGED' })
      work.subject.restore(id, 'one')
      await again()
      t.is((await work.store.copy(id))?.damaged, null)
      t.is((await work.capture()).hash, checkpoint.hash)
      t.is((await work.give('last')).text, 'one')
    }
  },

  'what a holder writes is no damage, and neither is a tree that never was at a checkpoint': async (t, work) => {
    await work.filled('one')
    await work.store.update(id, { held: HELD })
    work.write('two')
    await work.capture()
    t.is((await work.store.copy(id))?.damaged, null)
    await work.store.create({ ...STORED_VOLUME, id: OTHER })
    await work.store.capture(OTHER, 'quiet', NEVER_ABORTED)
    t.is((await work.store.copy(OTHER))?.damaged, null)
  },

  'only what is at rest and at a checkpoint is verified': async (t, work) => {
    await work.store.create(STORED_VOLUME)
    await t.throwsAsync(work.store.verify(id, NEVER_ABORTED), { code: 'NOT_AT_CHECKPOINT' })
    await work.filled('one')
    await work.store.mount(id)
    await t.throwsAsync(work.store.verify(id, NEVER_ABORTED), { code: 'VOLUME_IN_USE' })
    await work.store.unmount(id)
    await work.store.update(id, { held: HELD })
    await t.throwsAsync(work.store.verify(id, NEVER_ABORTED), { code: 'VOLUME_IN_USE' })
  },

  'promise 7: a tree that is set aside leaves an empty copy at no checkpoint, and others get nothing of it': async (
    t,
    work,
  ) => {
    await work.hold()
    work.write('one')
    const { epoch, seq } = await work.checkpoint()
    await work.store.update(id, { mounts: { m: 1 } })
    await work.store.mount(id)
    await t.throwsAsync(work.store.diverge(id, '2026-01-01T00:00:00.000Z', 3), { code: 'VOLUME_IN_USE' })
    await work.store.unmount(id)
    const copy = await work.store.diverge(id, '2026-01-01T00:00:00.000Z', 3)
    t.like(copy, { checkpoint: null, held: null, mounts: {}, epochSeen: 2 })
    t.like(copy.diverged[0], { epoch: 2, base: { epoch, seq }, bytes: 3 })
    t.is(work.subject.read(id), '')
    await t.throwsAsync(work.give('last'), { code: 'NOT_AT_CHECKPOINT' })
  },

  'a volume is mounted once however often that is asked for, and a mounted copy is not trashed': async (
    t,
    { store },
  ) => {
    await store.create(STORED_VOLUME)
    const path = await store.mount(id)
    t.is(await store.mount(id), path)
    t.is(store.mountpoint(id), path)
    t.deepEqual(await store.mounted(), new Set([id]))
    await t.throwsAsync(store.trash(id), { code: 'VOLUME_IN_USE' })
    await store.unmount(id)
    await store.unmount(id)
    t.deepEqual(await store.mounted(), new Set())
    await store.trash(id)
    await store.trash(id)
    t.is(await store.copy(id), null)
  },

  'nothing can be done with a copy that is not there': async (t, { store, give }) => {
    for (const call of [
      () => store.update(id, { epochSeen: 1 }),
      () => store.capture(id, 'quiet', NEVER_ABORTED),
      () => store.spoolRound(id, NEVER_ABORTED),
      () => store.apply(id, checkpointAt({ hash: 'f'.repeat(64), bytes: 0, files: 0 }, 1)),
      () => store.verify(id, NEVER_ABORTED),
      () => store.mount(id),
    ])
      await t.throwsAsync(call, { code: 'NOT_AT_CHECKPOINT' })
    t.truthy(give)
  },
}
