import test from 'ava'
import fc from 'fast-check'
import { WherryError } from '../../../agent/model/errors.ts'
import { FollowedEntries } from '../../../agent/registry/followed-entries.ts'
import { Follower } from '../../../agent/registry/follower.ts'
import type { BucketStream, PassedOn, StreamState } from '../../../agent/registry/stream.ts'
import { FakeBucket } from '../../fake/bucket.ts'
import { VirtualClock } from '../../fake/clock.ts'

const CHECK_MS = 2_000

/** A bucket and its follower, over a connection that can be cut. `lost`: messages that the server passes on in vain. */
function ground() {
  const clock = new VirtualClock()
  const bucket = new FakeBucket(() => 0)
  const stop = new AbortController()
  const state = { away: false, lost: false, made: 'first', known: 'first', calls: { state: 0, next: 0, all: 0 } }
  const reply = async <R>(call: keyof typeof state.calls, look: () => R): Promise<R> => {
    state.calls[call]++
    if (state.away) throw new WherryError('REGISTRY_UNAVAILABLE', 'away')
    return look()
  }
  const stored = () => bucket.newest(bucket.revision).map((one) => ({ ...one, value: one.value as string | null }))
  const stream: BucketStream<string> = {
    state: () =>
      reply('state', () => ({ lastRevision: bucket.revision, messages: stored().length, created: state.made })),
    next: (after) => reply('next', () => stored().find(({ revision }) => revision > after) ?? null),
    all: () => reply('all', stored),
  }
  const changes: (string | null)[] = []
  const follower = new Follower<string>({
    bucket: 'volumes',
    stream,
    clock,
    checkMs: CHECK_MS,
    judge: async ({ created }: StreamState) => {
      if (created !== state.known) throw new WherryError('REGISTRY_UNAVAILABLE', 'another stream')
    },
    changed: (change) => changes.push(change?.key ?? null),
  })
  const write = (key: string, value: string | null): PassedOn<string> => {
    const expected = bucket.read(key, bucket.revision)?.revision ?? null
    const revision = bucket.write(key, value, expected) ?? 0
    const message = { key, revision, value }
    if (!state.lost) follower.take(message)
    return message
  }
  const start = async () => {
    void follower.run(stop.signal)
    await clock.advance(10)
  }
  return { clock, bucket, state, follower, changes, write, start, stop }
}

test('what is passed on is followed without reading it back', async (t) => {
  const { follower, state, write, start, changes, clock } = ground()
  write('a', '1')
  await start()
  write('a', '2')
  write('b', '3')
  write('b', null)
  t.deepEqual([...follower.entries.values()], ['2'])
  t.deepEqual(changes, [null, 'a', 'b', 'b'])
  await clock.advance(60_000)
  t.is(state.calls.all, 1)
  t.is(state.calls.next, 0)
  t.true(state.calls.state <= 60_000 / CHECK_MS + 2)
})

test('a message that was lost is read once the next one shows the gap', async (t) => {
  const { follower, state, write, start, clock } = ground()
  await start()
  state.lost = true
  write('a', '1')
  state.lost = false
  write('b', '2')
  t.is(follower.entries.get('a'), null)
  await clock.advance(300)
  t.is(follower.entries.get('a'), '1')
  t.is(state.calls.all, 1)
})

test('the newest message that was lost is read at the next check, and by a read of all at once', async (t) => {
  const { follower, state, write, start, clock } = ground()
  await start()
  state.lost = true
  write('a', '1')
  await follower.catchUp()
  t.is(follower.entries.get('a'), '1')
  write('a', '2')
  await clock.advance(CHECK_MS + 10)
  t.is(follower.entries.get('a'), '2')
})

test('a read of all waits for a check that began after it', async (t) => {
  const { follower, state, write, start } = ground()
  await start()
  state.lost = true
  const early = follower.catchUp()
  write('a', '1')
  const late = follower.catchUp()
  await early
  await late
  t.is(follower.entries.get('a'), '1')
})

test('a message without its value, as an old server passes it on, is read', async (t) => {
  const { follower, state, write, start, clock } = ground()
  await start()
  state.lost = true
  const { key, revision } = write('a', '1')
  follower.take({ key, revision, value: undefined })
  await clock.advance(300)
  t.is(follower.entries.get('a'), '1')
})

test('what was followed does not count when no server has confirmed it for long', async (t) => {
  const { follower, state, write, start, clock } = ground()
  t.throws(() => follower.requireCurrent(), { code: 'REGISTRY_UNAVAILABLE' })
  await start()
  write('a', '1')
  follower.requireCurrent()
  state.away = true
  await clock.advance(CHECK_MS)
  follower.requireCurrent()
  await t.throwsAsync(follower.catchUp(), { code: 'REGISTRY_UNAVAILABLE' })
  await clock.advance(5_000)
  t.throws(() => follower.requireCurrent(), { code: 'REGISTRY_UNAVAILABLE' })
  state.away = false
  await clock.advance(1_000)
  follower.requireCurrent()
  t.is(follower.entries.get('a'), '1')
})

test('a stream that was made anew counts at no time', async (t) => {
  const { follower, state, write, start, clock } = ground()
  await start()
  write('a', '1')
  state.made = 'second'
  await t.throwsAsync(follower.catchUp(), { message: 'another stream' })
  t.throws(() => follower.requireCurrent(), { code: 'REGISTRY_UNAVAILABLE' })
  state.made = 'first'
  await clock.advance(CHECK_MS)
  follower.requireCurrent()
  t.is(follower.entries.get('a'), '1')
})

test('a stream in place of a lost one is read anew, also when it has as many messages', async (t) => {
  const { follower, state, bucket, write, start, clock, changes } = ground()
  await start()
  write('a', '1')
  write('a', '2')
  bucket.wipe()
  state.made = 'second'
  state.known = 'second'
  state.lost = true
  write('b', '1')
  write('b', '2')
  changes.length = 0
  await clock.advance(CHECK_MS + 10)
  t.deepEqual([...follower.entries.values()], ['2'])
  t.is(follower.entries.get('b'), '2')
  t.deepEqual(changes, [null])
})

test('a registry that was set back is read anew, and followed from there', async (t) => {
  const { follower, bucket, write, start, clock } = ground()
  await start()
  write('a', '1')
  write('b', '2')
  bucket.wipe()
  write('a', 'older')
  await clock.advance(CHECK_MS + 10)
  t.deepEqual([...follower.entries.values()], ['older'])
  write('a', 'newer')
  t.is(follower.entries.get('a'), 'newer')
})

test('entries are those of the stream, in whatever order its messages come, doubled or not', (t) => {
  const writes = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.option(fc.nat(9), { nil: null })), {
    minLength: 1,
    maxLength: 12,
  })
  fc.assert(
    fc.property(writes, fc.infiniteStream(fc.nat(1_000)), fc.nat(12), (told, order, read) => {
      const messages = told.map(([key, value], nth) => ({ key, value, revision: nth + 1 }))
      const newest = (upTo: number) => new Map(messages.slice(0, upTo).map((one) => [one.key, one]))
      const through = Math.min(read, messages.length)
      const entries = new FollowedEntries<number>()
      entries.replace([...newest(through).values()], through)
      const shuffled = [...messages, ...messages]
        .map((message) => ({ message, at: order.next().value as number }))
        .sort((one, other) => one.at - other.at)
      for (const { message } of shuffled) entries.take(message)
      const wanted = [...newest(messages.length).values()].flatMap(({ value }) => value ?? [])
      t.deepEqual([...entries.values()].sort(), wanted.sort())
      t.is(entries.through, messages.length)
      t.false(entries.hasHole)
    }),
    { numRuns: 300 },
  )
})
