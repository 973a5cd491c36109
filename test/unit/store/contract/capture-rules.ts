import { checkpointAt, NEVER_ABORTED, STORED_VOLUME, type StoreRules } from './store-kit.ts'

const { id } = STORED_VOLUME

/** What the decisions rely on when they take checkpoints. */
export const CAPTURE_RULES: StoreRules = {
  'a quiet capture replaces what others read as the last tree, and what they read as the live one': async (t, work) => {
    await work.store.create(STORED_VOLUME)
    work.write('one')
    await t.throwsAsync(work.give('last'), { code: 'NOT_AT_CHECKPOINT' })
    const first = await work.capture()
    t.deepEqual(await work.give('last'), { hash: first.hash, text: 'one' })
    work.write('two')
    const live = await work.store.capture(id, 'live', NEVER_ABORTED)
    t.is((await work.give('live')).hash, live.hash)
    t.deepEqual(await work.give('last'), { hash: first.hash, text: null })
    const second = await work.capture()
    t.is(second.hash, live.hash)
    t.deepEqual(await work.give('last'), { hash: second.hash, text: 'two' })
    await t.throwsAsync(work.give('live'), { code: 'NOT_AT_CHECKPOINT' })
  },

  'a capture has the same hash for the same tree, and another one for another': async (t, work) => {
    await work.store.create(STORED_VOLUME)
    const empty = await work.capture()
    t.is((await work.capture()).hash, empty.hash)
    work.write('one')
    t.not((await work.capture()).hash, empty.hash)
  },

  'checkpoints are taken of what this host holds alone': async (t, { store }) => {
    await store.create(STORED_VOLUME)
    await t.throwsAsync(store.spoolRound(id, NEVER_ABORTED), { code: 'STALE_EPOCH' })
    await t.throwsAsync(store.spoolFreeze(id, 'quiet', NEVER_ABORTED), { code: 'STALE_EPOCH' })
    await t.throwsAsync(store.spoolLast(id, NEVER_ABORTED), { code: 'STALE_EPOCH' })
  },

  'promise 5: a round compares with the checkpoint of the record, whatever was captured since': async (t, work) => {
    await work.hold()
    t.true(await work.changed(), 'there is no checkpoint yet')
    work.write('one')
    await work.checkpoint()
    t.false(await work.changed())
    work.write('two')
    t.true(await work.changed())
    const found = await work.capture()
    t.true(await work.changed(), 'a capture is no checkpoint')
    await work.store.update(id, { checkpoint: checkpointAt(found, 9) })
    t.false(await work.changed())
  },

  'a checkpoint is what was frozen, whatever is written then, and others can read it from its commit on': async (
    t,
    work,
  ) => {
    await work.hold()
    await t.throwsAsync(work.give('spool'), { code: 'NOT_AT_CHECKPOINT' })
    work.write('one')
    await work.store.spoolRound(id, NEVER_ABORTED)
    await work.freeze()
    const taken = checkpointAt(await work.store.spoolLast(id, NEVER_ABORTED), 1)
    await t.throwsAsync(work.give('spool'), { code: 'NOT_AT_CHECKPOINT' })
    await work.store.spoolCommit(id, taken)
    work.write('two')
    t.like(await work.store.copy(id), { checkpoint: taken, epochSeen: 2 })
    const given = await work.give('spool')
    t.is(given.hash, taken.hash)
    t.true(given.text === 'one' || given.text === null, 'never anything else')
    await t.notThrowsAsync(work.store.spoolCommit(id, taken))
  },

  'only what was captured last is committed': async (t, work) => {
    await work.hold()
    const taken = await work.checkpoint()
    await t.throwsAsync(work.store.spoolLast(id, NEVER_ABORTED), { code: 'HASH_MISMATCH' })
    work.write('one')
    await work.freeze()
    const capture = await work.store.spoolLast(id, NEVER_ABORTED)
    await t.throwsAsync(work.store.spoolLast(id, NEVER_ABORTED), { code: 'HASH_MISMATCH' }, 'it is frozen no more')
    await t.throwsAsync(work.store.spoolCommit(id, { ...checkpointAt(capture, 2), hash: `${capture.hash}x` }), {
      code: 'HASH_MISMATCH',
    })
    t.deepEqual((await work.store.copy(id))?.checkpoint, taken)
  },

  'what was frozen is given up by the next round, by a thaw and by a capture for a release': async (t, work) => {
    await work.hold()
    for (const next of [() => work.changed(), () => work.store.spoolThaw(id), () => work.capture()]) {
      work.write('one')
      await work.freeze()
      await next()
      await t.throwsAsync(work.store.spoolLast(id, NEVER_ABORTED), { code: 'HASH_MISMATCH' })
    }
  },

  'what was captured is given up by a capture for a release': async (t, work) => {
    await work.hold()
    work.write('one')
    await work.freeze()
    const capture = await work.store.spoolLast(id, NEVER_ABORTED)
    await work.capture()
    await t.throwsAsync(work.store.spoolCommit(id, checkpointAt(capture, 1)), { code: 'HASH_MISMATCH' })
  },

  'promise 4: after a release that was cut off, others get nothing until the next checkpoint, and never a mixture':
    async (t, work) => {
      await work.hold()
      work.write('one')
      const taken = await work.checkpoint()
      work.write('two')
      await work.capture()
      await t.throwsAsync(work.give('spool'), { code: 'NOT_AT_CHECKPOINT' })
      t.is((await work.store.copy(id))?.checkpoint?.hash, taken.hash)
      const next = await work.checkpoint()
      t.is((await work.give('spool')).hash, next.hash)
    },
}
