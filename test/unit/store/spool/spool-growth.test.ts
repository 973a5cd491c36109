import { randomBytes } from 'node:crypto'
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { SlotAllocator } from '../../../../agent/store/spool/slot-allocator.ts'
import { SPOOL_GROWTH, SPOOL_SLACK_BYTES } from '../../../../agent/store/spool/spool-writer.ts'
import { describeTree } from '../comparer.ts'
import { calm, newVolume, storeHost } from '../fixture.ts'
import { Held } from './held.ts'

for (const [what, sizeBytes] of [
  ['small files', 20_000],
  ['large files', 400_000],
] as const) {
  test(`rounds that never end in a commit do not make the spool of ${what} grow beyond its multiple`, async (t) => {
    const it = await Held.begin(await storeHost(t), newVolume())
    const spool = join(it.host.stateDir, 'volumes', it.volume.id, 'spool', 'next', 'data')
    const files = Math.ceil(1_000_000 / sizeBytes)
    const heldBytes = files * Math.ceil(sizeBytes / 4096) * 4096
    for (let round = 1; round <= 12; round++) {
      // Some stay as they are, so that what is freed lies between what is not.
      for (let nth = 0; nth < files; nth++) {
        if (nth % 5 !== 0 || round === 1) writeFileSync(join(it.data, `f${nth}`), randomBytes(sizeBytes))
      }
      await it.rounds(1)
      if (round % 4 === 0) {
        // The pause is over the budget: the tree is frozen, and thawed without a commit.
        await it.host.store.spoolFreeze(it.volume.id, 'quiet', calm)
        await it.host.store.spoolThaw(it.volume.id)
      }
      // What one round adds comes on top of what the one before may have left.
      const most = (SPOOL_GROWTH + 1) * heldBytes + SPOOL_SLACK_BYTES
      t.true(statSync(spool).blocks * 512 <= most, `round ${round}: ${statSync(spool).blocks * 512} of ${most}`)
    }
    const two = await storeHost(t)
    t.true((await it.copyTo(two, await it.take())).complete)
    t.deepEqual(describeTree(two.data(it.volume.id)), describeTree(it.data))
  })
}

test('a spool whose file is long and nearly empty is given up for another one', (t) => {
  const room = new SlotAllocator()
  const half = 1024 ** 4
  const first = room.pack([half])
  t.is(room.pack([half, half]), first + half)
  t.false(room.isWornOut, 'it is in use')
  room.giveBack({ offset: half, sizeBytes: half })
  room.giveBack({ offset: 2 * half, sizeBytes: half })
  room.giveBack({ offset: 0, sizeBytes: half })
  t.true(room.isWornOut)
})
