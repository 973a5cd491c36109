import { globSync, readFileSync } from 'node:fs'
import test from 'ava'
import type { z } from 'zod'
import { codeOf } from '../../../agent/model/errors.ts'
import { FORMAT, requireReadable } from '../../../agent/model/format.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { hostSchema, removedSchema, volumeSchema } from '../../../agent/registry/schema.ts'
import { asNewer, lostFields, withoutNewer } from '../../fake/newer-version.ts'

const AT = '2026-01-01T00:00:00.000Z'
const HASH = 'a'.repeat(64)
const CHECKPOINT = { epoch: 3, seq: 9, hash: HASH, at: AT, bytes: 5, files: 1 }
const TROUBLE = { code: 'EROFS', text: 'read-only', since: AT }
/** Records with everything in them that a record can have. */
const VOLUME = {
  ...{ id: 'ID', name: 'data', options: DEFAULT_OPTIONS, createdAt: AT, epoch: 3, last: CHECKPOINT, removedAt: null },
  holder: { host: 'H1', incarnation: 'i', since: AT },
  seizures: [{ epoch: 2, from: 'H1', by: 'H2', at: AT, base: { epoch: 1, seq: 1, hash: HASH }, ageSeconds: 4 }],
  seizuresCut: { epoch: 1, hosts: ['H3'] },
  copies: {
    H1: { epoch: 3, seq: 9, checkpoint: { epoch: 3, seq: 9, hash: HASH }, state: 'current', at: AT, kept: true },
  },
  lost: ['H4'],
  predecessor: { id: 'OLD', hosts: ['H1'], until: null },
}
const REMOVED = { id: 'ID', name: 'data', removedAt: AT, hosts: ['H1'], lost: ['H1'] }
const HEARTBEAT = {
  ...{
    id: 'H1',
    name: 'h1',
    address: '10.0.0.1',
    transferPort: 1,
    incarnation: 'i',
    version: '9',
    swarmNode: null,
    at: AT,
  },
  uses: { ID: ['db'] },
  referrers: { data: ['db'] },
  covered: { ID: { epoch: 3, seq: 9, hash: HASH, at: AT } },
  diverged: { ID: 1 },
  namesakes: ['data'],
  stuck: { ID: TROUBLE },
  late: { ID: TROUBLE },
  damaged: { ID: 'file' },
  holds: 1,
  certificateEnds: AT,
  unwritable: TROUBLE,
  ...{ renewal: 7, expiredBy: null, leaseMs: 1, seizeAfterMs: 2, freeBytes: 1, totalBytes: 2, zone: null },
  draining: false,
  peers: 'x',
}
const ALL = [
  { name: 'volume', schema: volumeSchema, record: VOLUME },
  { name: 'tombstone', schema: removedSchema, record: REMOVED },
  { name: 'heartbeat', schema: hostSchema, record: HEARTBEAT },
]

for (const { name, schema, record } of ALL) {
  test(`what a newer version put into a record (${name}) is kept at every depth`, (t) => {
    const newer = asNewer(record, 1)
    t.deepEqual(schema.parse(newer) as unknown, newer)
    // The sample has all fields: a new one belongs into it.
    const fields = Object.keys((schema as unknown as z.ZodObject).shape)
    t.deepEqual(
      fields.filter((field) => !(field in record)),
      [],
    )
    t.true(lostFields(newer, withoutNewer(newer)).length > 0)
  })

  test(`a record (${name}) with a key of the prototype changes no prototype`, (t) => {
    const evil = JSON.parse(
      JSON.stringify(record).replace('{', '{"__proto__": {"holder": 1}, "constructor": {"a": 1},'),
    )
    const parsed = schema.parse(evil) as unknown as Record<string, unknown>
    t.is(Object.getPrototypeOf(parsed), Object.prototype)
    t.is(({} as Record<string, unknown>).a, undefined)
    t.is(Object.getPrototypeOf({ ...parsed }), Object.prototype)
  })
}

test('no schema of what is stored or sent between hosts refuses a field that a newer version adds', (t) => {
  const root = `${import.meta.dirname}/../../../agent`
  const files = globSync(`${root}/{model,registry,store,transfer,host,fence,mobility}/**/*.ts`)
  t.true(files.length > 200)
  t.deepEqual(
    files.filter((file) => readFileSync(file, 'utf8').includes('strictObject')),
    [],
  )
})

test('a value in a format of this version, or without a format, can be read', (t) => {
  for (const value of [null, undefined, 7, [], {}, { readableFrom: FORMAT }, { readableFrom: 'x' }])
    t.notThrows(() => requireReadable(value, 'It'))
})

test('a value in a later format is refused, with who wrote it and what to do', (t) => {
  const writtenBy = { host: 'node2', version: '9.1.0' }
  const error = t.throws(() => requireReadable({ readableFrom: FORMAT + 1, writtenBy }, 'The record'))
  t.is(codeOf(error), 'VERSION_SKEW')
  t.regex(error?.message ?? '', /^The record has format 2, and this host reads up to format 1: host node2 wrote it/)
  t.regex((error as { hint?: string }).hint ?? '', /Upgrade this host to Wherry 9\.1\.0/)
  const bare = t.throws(() => requireReadable({ readableFrom: 99, writtenBy: 'x'.repeat(10_000) }, 'The record'))
  t.true((bare?.message.length ?? 0) < 200)
})
