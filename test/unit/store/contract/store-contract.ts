import test, { type ExecutionContext } from 'ava'
import type { Checkpoint } from '../../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../../agent/model/volume-options.ts'
import type { Capture, LocalCopy, Store } from '../../../../agent/store/contract.ts'
import type { SnapshotRef } from '../../../../agent/store/tree-contract.ts'

/** What another host gets of a tree. */
export interface Given {
  /** Of the manifest it is sent. */
  readonly hash: string
  /** Null: not all that the manifest names could be had. */
  readonly text: string | null
}

/**
 * A store, and what containers and other hosts do with its trees. Here a tree is one text; the empty one is the tree of
 * a new volume.
 */
export interface Subject {
  readonly store: Store
  /** What a container does. */
  write(id: string, text: string): void
  /** Somebody makes a tree again what `receive` brings for that text. */
  restore(id: string, text: string): void
  read(id: string): string
  /** Another host's tree comes into the stage, all of it. Answers its hash. */
  receive(volume: ContractVolume, text: string): Promise<string>
  /** Another host reads. */
  give(ref: SnapshotRef): Promise<Given>
  /** Lets as much time pass as a promise needs. */
  settle<T>(promise: Promise<T>): Promise<T>
}

export type ContractVolume = Pick<LocalCopy, 'id' | 'name' | 'options'>

const VOLUME: ContractVolume = { id: 'v1', name: 'data', options: DEFAULT_OPTIONS }
const { id } = VOLUME
const OTHER = 'v2'
const HELD = { epoch: 2, incarnation: 'i2' }
const calm = new AbortController().signal

function at({ hash, bytes, files }: Pick<Capture, 'hash' | 'bytes' | 'files'>, seq: number): Checkpoint {
  return { epoch: 2, seq, hash, bytes, files, at: '2026-01-01T00:00:00.000Z' }
}

/** The work of the decisions, in the order they do it. */
class Work {
  readonly subject: Subject
  readonly store: Store
  seq = 0

  constructor(subject: Subject) {
    this.subject = subject
    // Each call is waited for as its kind of time wants it.
    this.store = new Proxy(subject.store, {
      get: (store, name: keyof Store) => {
        const call = store[name] as (...args: unknown[]) => unknown
        return (...args: unknown[]) => {
          const answer = call.apply(store, args)
          return answer instanceof Promise ? subject.settle(answer) : answer
        }
      },
    })
  }

  give(kind: SnapshotRef['kind']): Promise<Given> {
    return this.subject.settle(this.subject.give({ id, kind }))
  }

  receive(text: string): Promise<string> {
    return this.subject.settle(this.subject.receive(VOLUME, text))
  }

  write(text: string): void {
    this.subject.write(id, text)
  }

  /** A new copy of a volume that this host holds. */
  async hold(): Promise<void> {
    await this.store.create(VOLUME)
    await this.store.update(id, { held: HELD })
  }

  async look(): Promise<Capture> {
    return await this.store.capture(id, 'quiet', calm)
  }

  async freeze(): Promise<void> {
    await this.store.spoolFreeze(id, 'quiet', calm)
  }

  /** A checkpoint of the volume in use. */
  async checkpoint(): Promise<Checkpoint> {
    await this.store.spoolRound(id, calm)
    await this.freeze()
    const taken = at(await this.store.spoolLast(id, calm), ++this.seq)
    await this.store.spoolCommit(id, taken)
    return taken
  }

  async changed(): Promise<boolean> {
    return (await this.store.spoolRound(id, calm)).changed
  }

  /** A copy that was received from another host. */
  async filled(text: string): Promise<Checkpoint> {
    const hash = await this.receive(text)
    const checkpoint = at({ hash, bytes: text.length, files: 1 }, ++this.seq)
    await this.store.apply(id, checkpoint)
    return checkpoint
  }
}

type Rule = (t: ExecutionContext, work: Work) => Promise<void>

/**
 * What the decisions rely on. Each rule is one of `Store`'s contract; a double that breaks one may hide a fault of
 * theirs.
 */
const RULES: Readonly<Record<string, Rule>> = {
  'a copy is made once, empty, and the highest epoch it has seen never goes down': async (t, { store, subject }) => {
    t.is(await store.copy(id), null)
    const made = await store.create(VOLUME)
    t.deepEqual(await store.create({ ...VOLUME, name: 'other' }), made)
    t.is(subject.read(id), '')
    await store.update(id, { epochSeen: 7 })
    t.is((await store.update(id, { epochSeen: 3, mounts: { a: 1 } })).epochSeen, 7)
    t.deepEqual((await store.copies()).copies, [await store.copy(id)])
  },

  'a quiet look replaces what others read as the last tree, and what they read as the live one': async (t, work) => {
    await work.store.create(VOLUME)
    work.write('one')
    await t.throwsAsync(work.give('last'), { code: 'NOT_AT_CHECKPOINT' })
    const first = await work.look()
    t.deepEqual(await work.give('last'), { hash: first.hash, text: 'one' })
    work.write('two')
    const live = await work.store.capture(id, 'live', calm)
    t.is((await work.give('live')).hash, live.hash)
    t.deepEqual(await work.give('last'), { hash: first.hash, text: null })
    const second = await work.look()
    t.is(second.hash, live.hash)
    t.deepEqual(await work.give('last'), { hash: second.hash, text: 'two' })
    await t.throwsAsync(work.give('live'), { code: 'NOT_AT_CHECKPOINT' })
  },

  'a look says the same of the same tree, and another thing of another': async (t, work) => {
    await work.store.create(VOLUME)
    const empty = await work.look()
    t.is((await work.look()).hash, empty.hash)
    work.write('one')
    t.not((await work.look()).hash, empty.hash)
  },

  'checkpoints are taken of what this host holds alone': async (t, { store }) => {
    await store.create(VOLUME)
    await t.throwsAsync(store.spoolRound(id, calm), { code: 'STALE_EPOCH' })
    await t.throwsAsync(store.spoolFreeze(id, 'quiet', calm), { code: 'STALE_EPOCH' })
    await t.throwsAsync(store.spoolLast(id, calm), { code: 'STALE_EPOCH' })
  },

  'promise 5: a round compares with the checkpoint of the record, whatever was looked at since': async (t, work) => {
    await work.hold()
    t.true(await work.changed(), 'there is no checkpoint yet')
    work.write('one')
    await work.checkpoint()
    t.false(await work.changed())
    work.write('two')
    t.true(await work.changed())
    const found = await work.look()
    t.true(await work.changed(), 'a look is no checkpoint')
    await work.store.update(id, { checkpoint: at(found, 9) })
    t.false(await work.changed())
  },

  'a checkpoint is what was frozen, whatever is written then, and others can read it from its commit on': async (
    t,
    work,
  ) => {
    await work.hold()
    await t.throwsAsync(work.give('spool'), { code: 'NOT_AT_CHECKPOINT' })
    work.write('one')
    await work.store.spoolRound(id, calm)
    await work.freeze()
    const taken = at(await work.store.spoolLast(id, calm), 1)
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
    await t.throwsAsync(work.store.spoolLast(id, calm), { code: 'HASH_MISMATCH' })
    work.write('one')
    await work.freeze()
    const capture = await work.store.spoolLast(id, calm)
    await t.throwsAsync(work.store.spoolLast(id, calm), { code: 'HASH_MISMATCH' }, 'it is frozen no more')
    await t.throwsAsync(work.store.spoolCommit(id, { ...at(capture, 2), hash: `${capture.hash}x` }), {
      code: 'HASH_MISMATCH',
    })
    t.deepEqual((await work.store.copy(id))?.checkpoint, taken)
  },

  'what was frozen is given up by the next round, by a thaw and by a look for a release': async (t, work) => {
    await work.hold()
    for (const next of [() => work.changed(), () => work.store.spoolThaw(id), () => work.look()]) {
      work.write('one')
      await work.freeze()
      await next()
      await t.throwsAsync(work.store.spoolLast(id, calm), { code: 'HASH_MISMATCH' })
    }
  },

  'what was captured is given up by a look for a release': async (t, work) => {
    await work.hold()
    work.write('one')
    await work.freeze()
    const capture = await work.store.spoolLast(id, calm)
    await work.look()
    await t.throwsAsync(work.store.spoolCommit(id, at(capture, 1)), { code: 'HASH_MISMATCH' })
  },

  'promise 4: after a release that was cut off, others get nothing until the next checkpoint, and never a mixture':
    async (t, work) => {
      await work.hold()
      work.write('one')
      const taken = await work.checkpoint()
      work.write('two')
      await work.look()
      await t.throwsAsync(work.give('spool'), { code: 'NOT_AT_CHECKPOINT' })
      t.is((await work.store.copy(id))?.checkpoint?.hash, taken.hash)
      const next = await work.checkpoint()
      t.is((await work.give('spool')).hash, next.hash)
    },

  'promise 4: an apply takes just what was received whole, and never while the volume is in use': async (t, work) => {
    await work.store.create(VOLUME)
    const other = at({ hash: 'f'.repeat(64), bytes: 1, files: 1 }, 1)
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

  'promise 2: a tree that is not its checkpoint is damaged, although a look has taken it in': async (t, work) => {
    const checkpoint = await work.filled('one')
    t.is((await work.store.verify(id, calm)).damagedCount, 0)
    work.write('two')
    t.not((await work.look()).hash, checkpoint.hash)
    for (const look of [() => Promise.resolve(), () => work.store.verify(id, calm), () => work.look()]) {
      await look()
      t.true(((await work.store.copy(id))?.damaged?.length ?? 0) > 0)
      await t.throwsAsync(work.store.mount(id), { code: 'COPY_DAMAGED' })
      await t.throwsAsync(work.give('last'), { code: 'COPY_DAMAGED' })
    }
    t.true((await work.store.verify(id, calm)).damagedCount > 0)
    await work.receive('one')
    await work.store.apply(id, checkpoint)
    t.is(work.subject.read(id), 'one')
    t.is((await work.store.verify(id, calm)).damagedCount, 0)
    await t.notThrowsAsync(work.store.mount(id))
    await work.store.unmount(id)
  },

  'a copy that was changed is whole again once a look finds that this was undone': async (t, work) => {
    const checkpoint = await work.filled('one')
    for (const again of [() => work.look(), () => work.store.verify(id, calm)]) {
      work.write('two')
      await work.look()
      await t.throwsAsync(work.give('last'), { code: 'COPY_DAMAGED' })
      work.subject.restore(id, 'one')
      await again()
      t.is((await work.store.copy(id))?.damaged, null)
      t.is((await work.look()).hash, checkpoint.hash)
      t.is((await work.give('last')).text, 'one')
    }
  },

  'what a holder writes is no damage, and neither is a tree that never was at a checkpoint': async (t, work) => {
    await work.filled('one')
    await work.store.update(id, { held: HELD })
    work.write('two')
    await work.look()
    t.is((await work.store.copy(id))?.damaged, null)
    await work.store.create({ ...VOLUME, id: OTHER })
    await work.store.capture(OTHER, 'quiet', calm)
    t.is((await work.store.copy(OTHER))?.damaged, null)
  },

  'only what is at rest and at a checkpoint is verified': async (t, work) => {
    await work.store.create(VOLUME)
    await t.throwsAsync(work.store.verify(id, calm), { code: 'NOT_AT_CHECKPOINT' })
    await work.filled('one')
    await work.store.mount(id)
    await t.throwsAsync(work.store.verify(id, calm), { code: 'VOLUME_IN_USE' })
    await work.store.unmount(id)
    await work.store.update(id, { held: HELD })
    await t.throwsAsync(work.store.verify(id, calm), { code: 'VOLUME_IN_USE' })
  },

  'promise 7: a tree that is put aside leaves an empty copy at no checkpoint, and others get nothing of it': async (
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

  'a volume is mounted once however often it is asked for, and what is mounted is not put away': async (
    t,
    { store },
  ) => {
    await store.create(VOLUME)
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
      () => store.capture(id, 'quiet', calm),
      () => store.spoolRound(id, calm),
      () => store.apply(id, at({ hash: 'f'.repeat(64), bytes: 0, files: 0 }, 1)),
      () => store.verify(id, calm),
      () => store.mount(id),
    ])
      await t.throwsAsync(call, { code: 'NOT_AT_CHECKPOINT' })
    t.truthy(give)
  },
}

/** Holds one kind of store to the contract. */
export function testStore(kind: string, open: (t: ExecutionContext) => Promise<Subject>): void {
  for (const [rule, check] of Object.entries(RULES)) {
    test(`${kind}: ${rule}`, async (t) => check(t, new Work(await open(t))))
  }
}
