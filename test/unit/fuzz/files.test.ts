import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { openFrozenNotes } from '../../../agent/fence/frozen-notes.ts'
import { openGuardFile } from '../../../agent/fence/guard-file.ts'
import { openDrainFlag } from '../../../agent/host/drain-flag.ts'
import { openEngineFacts } from '../../../agent/host/engine-facts.ts'
import { readHostId } from '../../../agent/host/host-id.ts'
import { openHostNames } from '../../../agent/host/host-names.ts'
import { isKnownName } from '../../../agent/host/known-names.ts'
import { codeOf } from '../../../agent/model/errors.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { layoutOf } from '../../../agent/store/disk/layout.ts'
import { readCopyRecord, writeCopyRecord } from '../../../agent/store/disk/record-file.ts'
import { readAges } from '../../../agent/store/disk/trash-ages.ts'
import { SpoolIndex } from '../../../agent/store/spool/spool-index.ts'
import { committed } from '../../../agent/store/stage/journal.ts'
import { bootId } from '../../../agent/sys/boot-id.ts'
import { recorder } from '../transfer/kit.ts'
import { cases, isUnpolluted, nearlyBytes, nearlyText } from './hostile-json.ts'

const ID = '01J0000000000000000000TEST'
const CHECKPOINT = { epoch: 3, seq: 7, hash: 'c'.repeat(64), at: '2026-01-02T03:04:05.678Z', bytes: 9, files: 1 }
const COPY = {
  version: 1,
  id: ID,
  name: 'data',
  options: DEFAULT_OPTIONS,
  checkpoint: CHECKPOINT,
  held: { epoch: 3, incarnation: 'i' },
  applying: false,
  damaged: null,
  epochSeen: 3,
  diverged: [{ name: '3-7', epoch: 3, base: { epoch: 2, seq: 1 }, at: CHECKPOINT.at, bytes: 12 }],
  mounts: { m1: 1 },
  uses: { unmountsMs: [], ground: null },
}

/** Puts damaged texts where a file of the state directory lies, and reads it: a value, or an error that is expected. */
async function reads(
  t: ExecutionContext,
  file: string,
  samples: readonly unknown[],
  read: (stateDir: string) => Promise<unknown>,
  isExpected: (error: unknown) => boolean = () => false,
): Promise<void> {
  const stateDir = await mkdtemp(join(tmpdir(), 'wherry-fuzz-'))
  t.teardown(() => rm(stateDir, { recursive: true, force: true }))
  await mkdir(dirname(join(stateDir, file)), { recursive: true })
  const seen = { taken: 0, refused: 0 }
  await fc.assert(
    fc.asyncProperty(nearlyText(samples), async (text) => {
      await writeFile(join(stateDir, file), text)
      try {
        await read(stateDir)
        seen.taken++
      } catch (error) {
        if (!isExpected(error)) throw error
        seen.refused++
      }
      return isUnpolluted()
    }),
    cases(400),
  )
  t.true(seen.taken > 0, JSON.stringify(seen))
}

const isDamaged = (error: unknown) => codeOf(error) === 'COPY_DAMAGED'

test('volume.json: what is read can be written again, and the rest is COPY_DAMAGED', async (t) => {
  const read = async (stateDir: string) => {
    const layout = layoutOf(stateDir, ID)
    const copy = await readCopyRecord(layout)
    if (copy !== null) await writeCopyRecord(layout, copy)
  }
  await reads(t, `volumes/${ID}/volume.json`, [COPY], read, isDamaged)
})

test('COMMIT: a checkpoint, or COPY_DAMAGED', async (t) => {
  const read = (stateDir: string) => committed(layoutOf(stateDir, ID))
  await reads(t, `volumes/${ID}/COMMIT`, [{ version: 1, checkpoint: CHECKPOINT }], read, isDamaged)
})

test('files of the host: what decides is COPY_DAMAGED, what is only remembered is forgotten', async (t) => {
  const { log } = recorder()
  const boot = await bootId()
  await reads(t, 'host.json', [{ hostId: ID }], (dir) => readHostId(dir, () => ID), isDamaged)
  await reads(t, 'drain.json', [{ drain: true }], openDrainFlag, isDamaged)
  await reads(t, 'engine.json', [{ name: 'h1', swarmNode: null, zone: null }], openEngineFacts)
  await reads(t, 'hosts.json', [{ [ID]: { name: 'h1', address: '10.0.0.1' } }], (dir) => openHostNames(dir, log))
  await reads(t, 'names.json', [['data', 'more']], (dir) => isKnownName(dir, 'data'))
  await reads(t, 'frozen.json', [{ boot, containers: ['c'] }], openFrozenNotes)
  await reads(t, 'trash.json', [{ boot, elapsedMs: 5, ages: { [ID]: 3 } }], (dir) => readAges(join(dir, 'trash')))
  const guard = { untilMs: 5, volumes: [{ id: ID, name: 'data', epoch: 3 }] }
  const last = async (stateDir: string) => {
    await using file = await openGuardFile({ stateDir, log })
    await file.last()
  }
  await reads(t, 'guard.json', [{ boot, guard }], last)
})

test('spool index: damaged bytes are no index, also if their hash is right', (t) => {
  const index = new SpoolIndex()
  for (const [nth, sizeBytes] of [100, 16_384, 7].entries())
    index.set(Buffer.alloc(32, nth + 1), { offset: nth * 16_384, sizeBytes })
  const whole = index.encoded()
  const body = whole.subarray(0, -32)
  const rehashed = nearlyBytes([body]).map((bytes) =>
    Buffer.concat([bytes, createHash('sha256').update(bytes).digest()]),
  )
  fc.assert(
    fc.property(fc.oneof(nearlyBytes([whole]), rehashed), (bytes) => {
      const decoded = SpoolIndex.decode(bytes)
      return decoded === null || decoded.count >= 0
    }),
    cases(2_000),
  )
  t.is(SpoolIndex.decode(whole)?.count, 3)
})
